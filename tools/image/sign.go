package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// keyVariable holds the private key that signs, in PEM, and passwordVariable its password; both are
// cosign's own names (cosign sign --key env://COSIGN_PRIVATE_KEY).
const (
	keyVariable      = "COSIGN_PRIVATE_KEY"
	passwordVariable = "COSIGN_PASSWORD"
)

// privateKey reads a key as cosign and openssl write it: ECDSA on P-256, which is the only kind that
// all versions of cosign take.
func privateKey(text, password string) (*ecdsa.PrivateKey, error) {
	if text == "" {
		return nil, fmt.Errorf("set %s to the private key in PEM: cosign generate-key-pair makes one, and so does openssl ecparam -genkey -name prime256v1 -noout", keyVariable)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM: it is the key itself, not the name of its file", keyVariable)
	}
	key, err := parsePrivateKey(block, password)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyVariable, err)
	}
	found, ok := key.(*ecdsa.PrivateKey)
	if !ok || found.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s is a key of another kind: make one of ECDSA on P-256", keyVariable)
	}
	return found, nil
}

func parsePrivateKey(block *pem.Block, password string) (any, error) {
	switch block.Type {
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		plain, err := encrypted.Decrypt(block.Bytes, []byte(password))
		if err != nil {
			return nil, fmt.Errorf("decrypt it by the password in %s: %w", passwordVariable, err)
		}
		return x509.ParsePKCS8PrivateKey(plain)
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it has a block %q, where PRIVATE KEY, EC PRIVATE KEY or ENCRYPTED SIGSTORE PRIVATE KEY is understood", block.Type)
	}
}

// publicKey reads the public key of a file, in PEM.
func publicKey(file string) (*ecdsa.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	found, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s is a key of another kind than ECDSA", file)
	}
	return found, nil
}

// sign is the signature of some content, in base64: ECDSA over its SHA-256, as cosign has it.
func sign(key *ecdsa.PrivateKey, content io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return "", err
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, hash.Sum(nil))
	return base64.StdEncoding.EncodeToString(signature), err
}

// errSignature is returned for a signature that is not by the key, or not of the content.
var errSignature = errors.New("the signature is wrong: it is by another key, or of something else")

func verify(key *ecdsa.PublicKey, content io.Reader, signature string) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return errSignature
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(key, hash.Sum(nil), raw) {
		return errSignature
	}
	return nil
}
