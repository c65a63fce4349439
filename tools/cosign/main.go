// Command cosign judges by cosign's own code what tools/image signs. It is not the whole of cosign,
// with its clients of clouds and key stores: it makes a key pair, and verifies the image of an OCI
// layout against a public key.
//
//	cosign generate-key-pair FOLDER    writes cosign.key, encrypted by COSIGN_PASSWORD, and cosign.pub
//	cosign verify PUBLIC-KEY LAYOUT
package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sigstore/cosign/v3/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cosign:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "generate-key-pair":
		return generate(args[1])
	case len(args) == 3 && args[0] == "verify":
		return verify(args[1], args[2])
	default:
		return errors.New("usage: cosign generate-key-pair FOLDER, or cosign verify PUBLIC-KEY LAYOUT")
	}
}

func generate(dir string) error {
	keys, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte(os.Getenv("COSIGN_PASSWORD")), nil })
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cosign.key"), keys.PrivateBytes, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cosign.pub"), keys.PublicBytes, 0o600)
}

// verify does what "cosign verify --local-image --insecure-ignore-tlog --key" does.
func verify(keyFile, layout string) error {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(text)
	if err != nil {
		return err
	}
	verifier, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		return err
	}
	found, _, err := cosign.VerifyLocalImageSignatures(context.Background(), layout, &cosign.CheckOpts{
		SigVerifier: verifier, IgnoreTlog: true, ClaimVerifier: cosign.SimpleClaimVerifier,
	})
	if err != nil {
		return err
	}
	fmt.Printf("%d signature is good\n", len(found))
	return nil
}
