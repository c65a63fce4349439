package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// cosign runs cosign's own code.
func cosign(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"run", "-C", "../cosign", "."}, args...)...).CombinedOutput() //nolint:gosec // the test's own
	return string(out), err
}

// keyPair is a key of cosign's, in the environment of the test, and the file of the public one.
func keyPair(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("COSIGN_PASSWORD", "not a secret")
	if out, err := cosign(t, "generate-key-pair", dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(dir, "cosign.key"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("COSIGN_PRIVATE_KEY", string(key))
	return filepath.Join(dir, "cosign.pub")
}

// made is a folder with an image as write makes it, but for khook in it, and a chart.
func made(t *testing.T) string {
	t.Helper()
	o := options{version: "v1.2.3", repository: "registry.example.com/khook"}
	platform := v1.Platform{OS: "linux", Architecture: "amd64"}
	image, err := o.image(platform, []byte("program"))
	if err != nil {
		t.Fatal(err)
	}
	o.out = t.TempDir()
	if _, err := o.write([]built{{platform: platform, image: image, sbom: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.out, "khook-1.2.3.tgz"), []byte("chart"), 0o600); err != nil {
		t.Fatal(err)
	}
	return o.out
}

func TestCosignVerifiesWhatIsSigned(t *testing.T) {
	public, dir := keyPair(t), made(t)
	for range 2 { // signing again is no harm
		if err := run(t.Context(), []string{"sign", "--out", dir}); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := cosign(t, "verify", public, filepath.Join(dir, "image")); err != nil || !strings.Contains(out, "1 signature is good") {
		t.Errorf("%v: %s", err, out)
	}
	if err := run(t.Context(), []string{"verify", "--out", dir, "--key", public}); err != nil {
		t.Error(err)
	}
	if other := keyPair(t); other != "" {
		if out, err := cosign(t, "verify", other, filepath.Join(dir, "image")); err == nil {
			t.Errorf("cosign takes another key: %s", out)
		}
		if err := run(t.Context(), []string{"verify", "--out", dir, "--key", other}); err == nil || !strings.Contains(err.Error(), "wrong") {
			t.Errorf("another key: %v", err)
		}
	}
}

// signedByPlainKey is a folder of made that is signed by a key of openssl's, and the public key's file.
func signedByPlainKey(t *testing.T) (dir, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("COSIGN_PRIVATE_KEY", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})))
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public = filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = made(t)
	if err := run(t.Context(), []string{"sign", "--out", dir}); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"verify", "--out", dir, "--key", public}); err != nil {
		t.Fatal(err)
	}
	return dir, public
}

// TestOpensslVerifiesASignedFile does what docs/install.md tells users to do.
func TestOpensslVerifiesASignedFile(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl")
	}
	dir, public := signedByPlainKey(t)
	check := func() ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `base64 -d khook-1.2.3.tgz.sig >signature && openssl dgst -sha256 -verify "$0" -signature signature khook-1.2.3.tgz`, public)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := check(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "khook-1.2.3.tgz"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := check(); err == nil {
		t.Errorf("openssl takes another file: %s", out)
	}
}

func TestWhatWasChangedAfterItWasSignedIsFound(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"the chart": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "khook-1.2.3.tgz"), []byte("other"), 0o600)
		},
		"the SBOM": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "khook-v1.2.3-linux-amd64.cdx.json"), []byte("[]"), 0o600)
		},
		"a file without signature": func(dir string) error { return os.WriteFile(filepath.Join(dir, "khook-9.tgz"), []byte("new"), 0o600) },
		"another image under the old signature": func(dir string) error {
			path, err := layout.FromPath(filepath.Join(dir, "image"))
			if err != nil {
				return err
			}
			old, err := signedIndex(path)
			if err != nil {
				return err
			}
			if err := path.ReplaceIndex(empty.Index, func(d v1.Descriptor) bool { return d.Digest == old.Digest }, layout.WithAnnotations(old.Annotations)); err != nil {
				return err
			}
			now, err := signedIndex(path)
			if err != nil {
				return err
			}
			// The old signature, under the tag of the new image.
			return relabel(path, signatureTag(old.Digest), signatureTag(now.Digest))
		},
	} {
		dir, public := signedByPlainKey(t)
		if err := change(dir); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := run(t.Context(), []string{"verify", "--out", dir, "--key", public}); err == nil {
			t.Errorf("%s: nobody notices", what)
		}
	}
}

// relabel gives the image with a tag another one.
func relabel(path layout.Path, from, to string) error {
	top, err := path.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		if d.Annotations[refAnnotation] == from {
			if err := path.RemoveDescriptors(func(o v1.Descriptor) bool { return o.Digest == d.Digest }); err != nil {
				return err
			}
			d.Annotations[refAnnotation] = to
			return path.AppendDescriptor(d)
		}
	}
	return os.ErrNotExist
}

func TestAKeyThatDoesNotDoIsRefusedAndNeverPrinted(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	other := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for what, c := range map[string]struct{ key, says string }{
		"none":              {"", "set COSIGN_PRIVATE_KEY"},
		"a file's name":     {"/secrets/cosign.key", "not the name of its file"},
		"another kind":      {other, "ECDSA on P-256"},
		"a public one":      {string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"})), `block "PUBLIC KEY"`},
		"encrypted garbage": {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("{}")})), "COSIGN_PASSWORD"},
	} {
		t.Setenv("COSIGN_PRIVATE_KEY", c.key)
		err := run(t.Context(), []string{"sign", "--out", t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if c.key != "" && err != nil && strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: the key is printed: %v", what, err)
		}
	}
}
