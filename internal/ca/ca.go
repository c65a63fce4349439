// Package ca is khook's own certificate authority, for clusters that have none: it makes the
// certificate of khook's ports, and tells the certificate by which clients check it.
//
// The authority's key stays in its folder: it is never logged, sent or shown.
package ca

import (
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
	// Dir is the folder in which the authority is kept, so that clients need to learn its certificate once.
	Dir string
	// Names are the DNS names and IP addresses that the server's certificate is for, beside those of the
	// loopback address.
	Names []string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Authority makes the certificates of a server. It is safe for concurrent use.
type Authority struct {
	now   func() time.Time
	names []string
	pair  pair

	mu     sync.Mutex
	server *tls.Certificate // the newest that was made
}

// pair is a certificate and its private key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Open takes the authority up from its folder, or makes one if there is none, if it can't be read as one, or if
// it ends within a year. Clients then need the new certificate; made says so.
func Open(cfg Config) (a *Authority, made bool, err error) {
	a = &Authority{now: cfg.Now, names: append([]string{"localhost", "127.0.0.1", "::1"}, cfg.Names...)}
	if a.now == nil {
		a.now = time.Now
	}
	a.pair, err = load(cfg.Dir)
	if errors.Is(err, errNoAuthority) || err == nil && a.now().Add(authoritySpare).After(a.pair.cert.NotAfter) {
		made = true
		if a.pair, err = newAuthority(a.now()); err == nil {
			err = save(cfg.Dir, a.pair)
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("certificate authority in %s: %w", cfg.Dir, err)
	}
	if err := publish(cfg.Dir, a.pair); err != nil {
		return nil, false, fmt.Errorf("certificate authority in %s: %w", cfg.Dir, err)
	}
	return a, made, nil
}

// PEM is the authority's certificate, for clients to check the server's by.
func (a *Authority) PEM() []byte { return certificatePEM(a.pair.cert) }

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
