package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nonroot is the user that khook runs as, by number, so that Kubernetes can tell that it is not root.
const nonroot = "65532:65532"

// built is the program and the image of one platform, and what they are made of.
type built struct {
	platform v1.Platform
	image    v1.Image // of Linux only
	sbom     []byte
	program  []byte
}

func (o options) images(ctx context.Context) ([]built, error) {
	var all []built
	for _, p := range o.platforms {
		b, err := o.build(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.String(), err)
		}
		all = append(all, b)
	}
	return all, nil
}

func (o options) build(ctx context.Context, p v1.Platform) (built, error) {
	dir, err := os.MkdirTemp("", "khook-image-")
	if err != nil {
		return built{}, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "khook")
	if err := o.compile(ctx, p, program); err != nil {
		return built{}, err
	}
	sbom, err := o.sbom(program, p)
	if err != nil {
		return built{}, fmt.Errorf("describe what it is made of: %w", err)
	}
	body, err := os.ReadFile(program)
	if err != nil {
		return built{}, err
	}
	if p.OS != "linux" {
		return built{p, nil, sbom, body}, nil
	}
	image, err := o.image(p, body)
	return built{p, image, sbom, body}, err
}

// compile builds khook by exactly the Go that its go.mod names, whichever is installed. Neither paths
// nor the state of the checkout get into the program.
func (o options) compile(ctx context.Context, p v1.Platform, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version="+o.version, "-o", to, "./cmd/khook")
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=", "GOOS="+p.OS, "GOARCH="+p.Architecture,
		"GOTOOLCHAIN="+o.toolchain, "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	if p.Variant != "" && p.Architecture == "arm" {
		cmd.Env = append(cmd.Env, "GOARM="+p.Variant[1:])
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build by %s, as go.mod has it: %w\n%s", o.toolchain, err, out)
	}
	return builtBy(to, o.toolchain)
}

// entry is a file or a folder of the image.
type entry struct {
	name string
	mode int64
	body []byte
}

// files are all that is in the image; nothing of it can be written to but /tmp.
func files(program []byte) []entry {
	return []entry{
		{"etc/", 0o755, nil},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"khook", 0o555, program},
		{"tmp/", 0o1777, nil},
	}
}

func archive(w io.Writer, when time.Time, entries []entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.body)), ModTime: when, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.body); err != nil {
			return err
		}
	}
	return t.Close()
}

func (o options) image(p v1.Platform, program []byte) (v1.Image, error) {
	var content bytes.Buffer
	if err := archive(&content, o.when, files(program)); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer, History: v1.History{
		Created: v1.Time{Time: o.when}, CreatedBy: "khook " + o.version, Comment: "built without a container engine",
	}})
	if err != nil {
		return nil, err
	}
	if image, err = mutate.ConfigFile(image, o.config(p, image)); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, o.labels()).(v1.Image), nil //nolint:forcetypeassert // it gives back what it is given
}

// config says how the image runs.
func (o options) config(p v1.Platform, image v1.Image) *v1.ConfigFile {
	found, err := image.ConfigFile()
	if err != nil { // it is in memory
		panic(err)
	}
	c := found.DeepCopy()
	c.OS, c.Architecture, c.Variant = p.OS, p.Architecture, p.Variant
	c.Created = v1.Time{Time: o.when}
	c.Config = v1.Config{
		User: nonroot, WorkingDir: "/", Env: []string{"PATH=/"},
		Entrypoint: []string{"/khook"}, Cmd: []string{"controller"}, Labels: o.labels(),
		ExposedPorts: map[string]struct{}{"8080/tcp": {}, "8081/tcp": {}, "8082/tcp": {}},
	}
	return c
}

func (o options) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":         "khook",
		"org.opencontainers.image.description":   "Calls AI agents on kagent when something in a Kubernetes cluster goes wrong",
		"org.opencontainers.image.version":       o.version,
		"org.opencontainers.image.created":       o.when.Format(time.RFC3339),
		"org.opencontainers.image.source":        "https://github.com/kagent-dev/khook",
		"org.opencontainers.image.documentation": "https://github.com/kagent-dev/khook/tree/main/docs",
		"org.opencontainers.image.licenses":      "Apache-2.0",
	}
	if o.revision != "" {
		labels["org.opencontainers.image.revision"] = o.revision
	}
	return labels
}
