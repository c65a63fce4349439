package ca

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The files of an authority. Key and certificate are in one file, so that no crash leaves one without the other;
// the certificate is beside it once more, for clients.
const (
	secretFile = "authority.pem"
	publicFile = "ca.crt"
)

// errNoAuthority says that the folder has none, or nothing that can be read as one.
var errNoAuthority = errors.New("there is none")

// load reads the authority of a folder. What is no authority is errNoAuthority; a file that can't be read at all is
// another error, since a new authority would lock out the clients of the one that may be there.
func load(dir string) (pair, error) {
	text, err := os.ReadFile(filepath.Join(dir, secretFile))
	if errors.Is(err, fs.ErrNotExist) {
		return pair{}, errNoAuthority
	}
	if err != nil {
		return pair{}, err
	}
	// It checks that certificate and key belong together.
	found, err := tls.X509KeyPair(text, text)
	if err != nil || !found.Leaf.IsCA {
		return pair{}, errNoAuthority
	}
	key, ok := found.PrivateKey.(crypto.Signer)
	if !ok {
		return pair{}, errNoAuthority
	}
	return pair{found.Leaf, key}, nil
}

// save puts the authority into its folder, for its owner only.
func save(dir string, p pair) error {
	key, err := keyutil.MarshalPrivateKeyToPEM(p.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return write(filepath.Join(dir, secretFile), append(certificatePEM(p.cert), key...), 0o600)
}

// publish puts the certificate beside it, for people on the same machine.
func publish(dir string, p pair) error {
	return write(filepath.Join(dir, publicFile), certificatePEM(p.cert), 0o644)
}

// write replaces a file as a whole. It is on the disk before it takes the name: else a loss of power could leave an
// empty one, and clients would need another authority.
func write(file string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: c.Raw})
}
