package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
)

// The files of an authority. Key and certificate are in one file, so that no crash leaves one without the other;
// the certificate is beside it once more, for clients.
const (
	secretFile = "authority.pem"
	publicFile = "ca.crt"
)

// Folder keeps an authority in a folder of one process, for its owner only. The certificate alone is beside it, as ca.crt.
type Folder string

// Load implements Keeper.
func (f Folder) Load(context.Context) ([]byte, string, error) {
	text, err := os.ReadFile(filepath.Join(string(f), secretFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if found, ok := parse(text); ok {
		err = f.publish(found)
	}
	return text, "", err
}

// Save implements Keeper.
func (f Folder) Save(_ context.Context, text []byte, _ string) error {
	found, ok := parse(text)
	if !ok {
		return errors.New("what is to be kept is no authority")
	}
	if err := os.MkdirAll(string(f), 0o750); err != nil {
		return err
	}
	if err := write(filepath.Join(string(f), secretFile), text, 0o600); err != nil {
		return err
	}
	return f.publish(found)
}

// String implements Keeper.
func (f Folder) String() string { return string(f) }

// publish puts the certificate beside the authority, for people on the same machine, unless it is there already: it is looked at all the time.
func (f Folder) publish(p pair) error {
	file, text := filepath.Join(string(f), publicFile), certificatePEM(p.cert)
	if there, err := os.ReadFile(file); err == nil && bytes.Equal(there, text) {
		return nil
	}
	return write(file, text, 0o644)
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
