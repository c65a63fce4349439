package main

import (
	"crypto/ecdsa"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// signAll signs what lies in the folder of --out: the image in its layout, and each file beside it.
func signAll(args []string) error {
	flags := flag.NewFlagSet("image sign", flag.ContinueOnError)
	out := flags.String("out", "../../dist", "folder with what was made")
	if err := flags.Parse(args); err != nil {
		return err
	}
	key, err := privateKey(os.Getenv(keyVariable), os.Getenv(passwordVariable))
	if err != nil {
		return err
	}
	tag, err := signLayout(filepath.Join(*out, "image"), key)
	if err != nil {
		return err
	}
	fmt.Printf("%s  %s\n", tag, filepath.Join(*out, "image"))
	names, err := releaseFiles(*out)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := signFile(name, key); err != nil {
			return err
		}
		fmt.Println(name + ".sig")
	}
	return nil
}

// releaseFiles are the files in a folder that users fetch: archives of the image and of the program,
// charts, SBOMs, manifests, checksums.
func releaseFiles(dir string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"khook-*.oci.tar", "khook-*.tar.gz", "khook-*.tgz", "khook-*.cdx.json", "install.yaml", sums} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}

// signFile writes the signature of a file beside it, as cosign sign-blob does.
func signFile(name string, key *ecdsa.PrivateKey) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	signature, err := sign(key, file)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return os.WriteFile(name+".sig", []byte(signature+"\n"), 0o644) //nolint:gosec // others may read it
}

// verifyAll checks what signAll has signed.
func verifyAll(args []string) error {
	flags := flag.NewFlagSet("image verify", flag.ContinueOnError)
	out := flags.String("out", "../../dist", "folder with what was made")
	keyFile := flags.String("key", "", "file with the public key in PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	key, err := publicKey(*keyFile)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	var errs []error
	if err := verifyLayout(filepath.Join(*out, "image"), key); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(*out, "image"), err))
	}
	names, err := releaseFiles(*out)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := verifyFile(name, key); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func verifyFile(name string, key *ecdsa.PublicKey) error {
	signature, err := os.ReadFile(name + ".sig")
	if err != nil {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return verify(key, file, strings.TrimSpace(string(signature)))
}
