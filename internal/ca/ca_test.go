package ca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// today is a clock that a test moves.
type today struct{ time.Time }

func (t *today) now() time.Time { return t.Time }

func open(t *testing.T, dir string, clock *today, names ...string) (*Authority, bool) {
	t.Helper()
	a, made, err := Open(Config{Dir: dir, Names: names, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return a, made
}

func served(t *testing.T, a *Authority) *tls.Certificate {
	t.Helper()
	c, err := a.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// trusts says whether a client that knows an authority takes a server's certificate for a name.
func trusts(authority []byte, c *tls.Certificate, name string, at time.Time) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	_, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

func TestClientsTrustWhatTheAuthorityMakesForTheNamesOfTheService(t *testing.T) {
	clock := &today{time.Now()}
	a, made := open(t, filepath.Join(t.TempDir(), "tls"), clock, "khook.kagent.svc", "10.1.2.3")
	if !made {
		t.Error("it does not say that it is new")
	}
	c := served(t, a)
	for _, name := range []string{"khook.kagent.svc", "10.1.2.3", "localhost", "127.0.0.1", "::1"} {
		if err := trusts(a.PEM(), c, name, clock.Time); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if trusts(a.PEM(), c, "other.kagent.svc", clock.Time) == nil {
		t.Error("the certificate is good for a name that nobody gave")
	}
	stranger, _ := open(t, t.TempDir(), clock)
	if trusts(stranger.PEM(), c, "localhost", clock.Time) == nil {
		t.Error("another authority is taken")
	}
}

func TestTheAuthorityIsTheSameAfterARestart(t *testing.T) {
	dir, clock := t.TempDir(), &today{time.Now()}
	first, _ := open(t, dir, clock)
	again, made := open(t, dir, clock)
	if made || !bytes.Equal(first.PEM(), again.PEM()) {
		t.Error("clients would have to learn another authority")
	}
	if err := trusts(first.PEM(), served(t, again), "localhost", clock.Time); err != nil {
		t.Error(err)
	}
	public, err := os.ReadFile(filepath.Join(dir, publicFile))
	if err != nil || !bytes.Equal(public, first.PEM()) {
		t.Errorf("the certificate for clients is %s, %v", public, err)
	}
	if info, err := os.Stat(filepath.Join(dir, secretFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file is %v, %v", info, err)
	}
}

func TestACertificateIsReplacedBeforeItEnds(t *testing.T) {
	clock := &today{time.Now()}
	a, _ := open(t, t.TempDir(), clock)
	first := served(t, a)
	if served(t, a) != first {
		t.Error("each connection gets a certificate of its own")
	}
	clock.Time = first.Leaf.NotAfter.Add(-serverSpare)
	next := served(t, a)
	if next == first {
		t.Fatal("it is not replaced")
	}
	if err := trusts(a.PEM(), next, "localhost", first.Leaf.NotAfter.Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestAnAuthorityThatEndsSoonOrIsDamagedIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(dir string, clock *today) error{
		"ends soon": func(_ string, clock *today) error {
			clock.Time = clock.Add(authorityLife - authoritySpare + time.Hour)
			return nil
		},
		"no PEM": func(dir string, _ *today) error {
			return os.WriteFile(filepath.Join(dir, secretFile), []byte("?"), 0o600)
		},
		"empty": func(dir string, _ *today) error { return os.Truncate(filepath.Join(dir, secretFile), 0) },
		"gone":  func(dir string, _ *today) error { return os.Remove(filepath.Join(dir, secretFile)) },
		"without a key": func(dir string, _ *today) error {
			return os.Rename(filepath.Join(dir, publicFile), filepath.Join(dir, secretFile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, clock := t.TempDir(), &today{time.Now()}
			first, _ := open(t, dir, clock)
			if err := spoil(dir, clock); err != nil {
				t.Fatal(err)
			}
			again, made := open(t, dir, clock)
			if !made || bytes.Equal(first.PEM(), again.PEM()) {
				t.Error("it is taken as it is")
			}
			if err := trusts(again.PEM(), served(t, again), "localhost", clock.Time); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFolderThatCannotBeReadIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, secretFile), 0o700); err != nil { // in the place of the file
		t.Fatal(err)
	}
	if _, _, err := Open(Config{Dir: dir}); err == nil {
		t.Error("an authority that may be there is replaced")
	}
}
