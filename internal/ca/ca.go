// Package ca is khook's own certificate authority, for clusters that have none: it makes the
// certificate of khook's ports, and tells the certificate by which clients check it.
//
// The authority's key stays where it is kept, in a folder or in a Secret: it is never logged or shown.
package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"k8s.io/client-go/util/keyutil"
)

// How long certificates are good, and how long before their end they are replaced. A certificate of a
// server begins an hour early, for clients whose clocks are slow.
const (
	authorityLife  = 10 * 365 * 24 * time.Hour
	authoritySpare = 365 * 24 * time.Hour
	serverLife     = 90 * 24 * time.Hour
	serverSpare    = 30 * 24 * time.Hour
	clockSkew      = time.Hour
)

// Config holds the settings of an Authority.
type Config struct {
	// Keeper is where the authority is kept, so that clients need to learn its certificate once.
	Keeper Keeper
	// Names are the DNS names and IP addresses that the server's certificate is for, beside those of the
	// loopback address.
	Names []string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Keeper keeps one authority, as a text with its certificate and its private key in PEM.
type Keeper interface {
	// Load returns the text, and which version of it that is. The text is empty if there is none. An error says that nobody
	// knows whether there is one: no other one is made then, since that would lock out the clients of the one that may be there.
	Load(ctx context.Context) (text []byte, version string, err error)
	// Save replaces the version that was loaded; ErrChanged if there is another one by now.
	Save(ctx context.Context, text []byte, version string) error
	// String names the place, for people.
	String() string
}

// ErrChanged says that another process has saved an authority meanwhile.
var ErrChanged = errors.New("another process has saved an authority meanwhile")

// Authority makes the certificates of a server. It is safe for concurrent use.
type Authority struct {
	keeper Keeper
	now    func() time.Time
	names  []string

	mu     sync.Mutex
	pair   pair
	server *tls.Certificate // the newest that was made
}

// pair is a certificate and its private key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Open takes the authority up from where it is kept, or makes one if there is none, if what is there can't be read as one, or if
// it ends within a year. Clients then need the new certificate; made says so.
func Open(ctx context.Context, cfg Config) (a *Authority, made bool, err error) {
	a = &Authority{keeper: cfg.Keeper, now: cfg.Now, names: append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Names...)}
	if a.now == nil {
		a.now = time.Now
	}
	if made, err = a.Refresh(ctx); err != nil {
		return nil, false, err
	}
	return a, made, nil
}

// saves is how often an authority is saved at most, if other processes always come first.
const saves = 5

// Refresh does what Open does for an authority that is in use: the one that another process has made is taken up, and one that
// ends within a year is replaced. What is served goes by it from the next connection on.
func (a *Authority) Refresh(ctx context.Context) (made bool, err error) {
	for range saves {
		made, err = a.take(ctx)
		if !errors.Is(err, ErrChanged) {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("certificate authority in %s: %w", a.keeper, err)
	}
	return made, nil
}

func (a *Authority) take(ctx context.Context) (made bool, err error) {
	text, version, err := a.keeper.Load(ctx)
	if err != nil {
		return false, err
	}
	found, ok := parse(text)
	if !ok || a.now().Add(authoritySpare).After(found.cert.NotAfter) {
		made = true
		if found, err = newAuthority(a.now()); err != nil {
			return false, err
		}
		if text, err = found.text(); err != nil {
			return false, err
		}
		if err := a.keeper.Save(ctx, text, version); err != nil {
			return false, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pair.cert == nil || !a.pair.cert.Equal(found.cert) {
		a.pair, a.server = found, nil
	}
	return made, nil
}

// parse reads an authority; false if the text is none. It checks that certificate and key belong together.
func parse(text []byte) (pair, bool) {
	found, err := tls.X509KeyPair(text, text)
	if err != nil || !found.Leaf.IsCA {
		return pair{}, false
	}
	key, ok := found.PrivateKey.(crypto.Signer)
	return pair{found.Leaf, key}, ok
}

// text is the authority as it is kept.
func (p pair) text() ([]byte, error) {
	key, err := keyutil.MarshalPrivateKeyToPEM(p.key)
	return append(certificatePEM(p.cert), key...), err
}

// String names the place in which the authority is kept.
func (a *Authority) String() string { return a.keeper.String() }

// PEM is the authority's certificate, for clients to check the server's by.
func (a *Authority) PEM() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return certificatePEM(a.pair.cert)
}

// GetCertificate is for tls.Config. It makes a new certificate in time before the last one ends.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && a.now().Add(serverSpare).Before(a.server.Leaf.NotAfter) {
		return a.server, nil
	}
	made, err := a.newServer()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	a.server = made
	return made, nil
}

// newAuthority makes an authority. Its name is unlike that of an earlier one, since clients that know both tell
// them apart by it.
func newAuthority(now time.Time) (pair, error) {
	serial, err := newSerial()
	if err != nil {
		return pair{}, err
	}
	return sign(&x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprintf("khook certificate authority %08x", serial.Bytes()[:4])},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

func (a *Authority) newServer() (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "khook"},
		NotBefore: a.now().Add(-clockSkew), NotAfter: a.now().Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, name := range a.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	made, err := sign(template, &a.pair)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{made.cert.Raw}, PrivateKey: made.key, Leaf: made.cert}, nil
}

// sign makes a certificate for a new key, signed by an authority, or by itself if that is nil.
func sign(template *x509.Certificate, by *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	if by == nil {
		by = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return pair{cert, key}, err
}

// newSerial is a random number of 128 bits, the first of which is set so that it is never shorter.
func newSerial() (*big.Int, error) {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		return nil, err
	}
	bytes[0] = bytes[0]&0x7f | 0x40
	return new(big.Int).SetBytes(bytes), nil
}
