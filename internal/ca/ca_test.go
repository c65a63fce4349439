package ca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// today is a clock that a test moves.
type today struct{ time.Time }

func (t *today) now() time.Time { return t.Time }

func open(t *testing.T, dir string, clock *today, names ...string) (*Authority, bool) {
	t.Helper()
	a, made, err := Open(t.Context(), Config{Keeper: Folder(dir), Names: names, Now: clock.now})
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
	if _, _, err := Open(t.Context(), Config{Keeper: Folder(dir)}); err == nil {
		t.Error("an authority that may be there is replaced")
	}
}

// shared keeps an authority for several processes, as a Secret does. What one has loaded another may have replaced: before
// lets a test do so.
type shared struct {
	text   []byte
	saved  int
	before func()
}

func (s *shared) Load(context.Context) ([]byte, string, error) {
	return s.text, strconv.Itoa(s.saved), nil
}

func (s *shared) Save(_ context.Context, text []byte, version string) error {
	if s.before != nil {
		s.before()
	}
	if version != strconv.Itoa(s.saved) {
		return ErrChanged
	}
	s.text, s.saved = text, s.saved+1
	return nil
}

func (s *shared) String() string { return "a place for several" }

func TestReplicasThatStartTogetherHaveOneAuthority(t *testing.T) {
	place := &shared{}
	var other *Authority
	place.before = func() { // another replica comes between
		place.before = nil
		var made bool
		var err error
		if other, made, err = Open(t.Context(), Config{Keeper: place}); err != nil || !made {
			t.Fatalf("%t, %v", made, err)
		}
	}
	a, made, err := Open(t.Context(), Config{Keeper: place})
	if err != nil || made {
		t.Fatalf("%t, %v: it says that it has made one", made, err)
	}
	if err := trusts(other.PEM(), served(t, a), "localhost", time.Now()); err != nil {
		t.Errorf("a client of one replica does not trust the other: %v", err)
	}
}

func TestAnAuthorityInUseIsReplacedInTimeByAllReplicas(t *testing.T) {
	place, clock := &shared{}, &today{time.Now()}
	var replicas [2]*Authority
	for i := range replicas {
		var err error
		if replicas[i], _, err = Open(t.Context(), Config{Keeper: place, Now: clock.now}); err != nil {
			t.Fatal(err)
		}
		served(t, replicas[i])
	}
	first := replicas[0].PEM()
	clock.Time = clock.Add(authorityLife - authoritySpare + 2*time.Hour)
	for i, r := range replicas {
		made, err := r.Refresh(t.Context())
		if err != nil || made != (i == 0) {
			t.Errorf("replica %d: %t, %v", i, made, err)
		}
	}
	if bytes.Equal(first, replicas[0].PEM()) || !bytes.Equal(replicas[0].PEM(), replicas[1].PEM()) {
		t.Error("they have not one new authority")
	}
	if err := trusts(replicas[0].PEM(), served(t, replicas[1]), "localhost", clock.Time); err != nil {
		t.Error(err)
	}
}

func TestWhereOthersAlwaysComeFirstItEndsWithAnError(t *testing.T) {
	place := &shared{}
	place.before = func() { place.saved++ }
	if _, _, err := Open(t.Context(), Config{Keeper: place}); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "a place for several") {
		t.Error(err)
	}
}
