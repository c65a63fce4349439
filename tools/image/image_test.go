package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// copied is a copy of khook's tracked files in another folder, and no repository.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `cd ../.. && git ls-files -z -- go.mod go.sum api cmd config internal ':!internal/**/testdata' | xargs -0 cp --parents -t "$0"`, dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// build builds the image of one platform, and returns its folder.
func build(t *testing.T, source string) string {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	out := t.TempDir()
	if err := run(t.Context(), []string{"--source", source, "--out", out, "--version", "v1.2.3", "--platforms", "linux/amd64"}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheSameSourceGivesTheSameImageWhereverItIs(t *testing.T) {
	one := build(t, copied(t))
	// Another machine, whose environment asks for another program.
	t.Setenv("GOAMD64", "v3")
	t.Setenv("GOFLAGS", "-gcflags=-N")
	other := build(t, copied(t))
	for _, name := range []string{"image/index.json", "khook-v1.2.3.oci.tar", "khook-v1.2.3-linux-amd64.cdx.json"} {
		a, err1 := os.ReadFile(filepath.Join(one, name))
		b, err2 := os.ReadFile(filepath.Join(other, name))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same", name)
		}
	}
}

// TestTheImageRunsAsNobodyAndHasAnSBOM builds where the environment asks for another Go, one that does
// not even exist: it is built by that of go.mod all the same, which the SBOM names.
func TestTheImageRunsAsNobodyAndHasAnSBOM(t *testing.T) {
	source := copied(t)
	t.Setenv("GOTOOLCHAIN", "none-such")
	out := build(t, source)
	top, err := layout.ImageIndexFromPath(filepath.Join(out, "image"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 2 || manifest.Manifests[0].Annotations["io.containerd.image.name"] != "cr.kagent.dev/kagent-dev/khook/khook:v1.2.3" {
		t.Fatalf("%+v, %v", manifest, err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(inner.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	runsAsNobody(t, image)
	sbom, err := top.Image(manifest.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	describes(t, sbom, inner.Manifests[0].Digest)
}

// TestTheArchiveHasNothingButTheImage: what else its index named would be unpacked by what loads it.
func TestTheArchiveHasNothingButTheImage(t *testing.T) {
	file, err := os.Open(filepath.Join(build(t, copied(t)), "khook-v1.2.3.oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("there is no index: %v", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index v1.IndexManifest
		if err := json.NewDecoder(r).Decode(&index); err != nil || len(index.Manifests) != 1 {
			t.Errorf("%+v, %v", index, err)
		}
		return
	}
}

func TestAProgramOfAnotherGoGetsIntoNoImage(t *testing.T) {
	program, err := os.Executable() // by the Go of this test
	if err != nil {
		t.Fatal(err)
	}
	if err := builtBy(program, runtime.Version()); err != nil {
		t.Error(err)
	}
	if err := builtBy(program, "go1.26.0"); err == nil || !strings.Contains(err.Error(), "go.mod names go1.26.0") {
		t.Error(err)
	}
	none := t.TempDir()
	if err := os.WriteFile(filepath.Join(none, "go.mod"), []byte("module m\n\ngo 1.26.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := namedToolchain(t.Context(), none); err == nil || !strings.Contains(err.Error(), "toolchain go1") {
		t.Errorf("a go.mod that names no Go: %v", err)
	}
}

func runsAsNobody(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || strings.Join(c.Entrypoint, " ") != "/khook" || config.Architecture != "amd64" {
		t.Errorf("config %+v", config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	program := false
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&0o022 != 0 && h.Name != "tmp/" {
			t.Errorf("%s can be written to: %o", h.Name, h.Mode)
		}
		if h.Name != "khook" {
			continue
		}
		program = true
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		isStatic(t, body)
	}
	if !program {
		t.Error("khook is not in its image")
	}
}

func isStatic(t *testing.T, body []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(body))
	if err != nil || f.Machine != elf.EM_X86_64 {
		t.Fatalf("%v, %v", f, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it needs a dynamic linker, which the image has not")
		}
	}
}

// describes holds that the SBOM is about the image, and names the modules of go.mod.
func describes(t *testing.T, sbom v1.Image, image v1.Hash) {
	t.Helper()
	manifest, err := sbom.Manifest()
	if err != nil || manifest.Subject == nil || manifest.Subject.Digest != image {
		t.Fatalf("it is about %+v, %v", manifest, err)
	}
	layers, err := sbom.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Compressed() // it is stored as it is
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	var bom cdx.BOM
	if err := json.NewDecoder(content).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, c := range *bom.Components {
		versions[c.Name] = c.Version
	}
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"sigs.k8s.io/controller-runtime", "modernc.org/sqlite", "github.com/a2aproject/a2a-go/v2"} {
		if v := versions[module]; v == "" || !strings.Contains(string(text), module+" "+v) {
			t.Errorf("%s has version %q", module, v)
		}
	}
	if std := versions["std"]; std == "" || !strings.Contains(string(text), "\ntoolchain go"+std+"\n") {
		t.Errorf("it was built by Go %q, which is not the one of go.mod", std)
	}
	if bom.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("khook %q", bom.Metadata.Component.Version)
	}
}
