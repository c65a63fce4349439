package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// sbomType is the media type of the SBOM, and of the artifact that carries it.
const sbomType = "application/vnd.cyclonedx+json"

// named is what a digest is of.
type named struct{ digest, name string }

// write writes the layout, its tar and the SBOMs, and says their digests. What was there before is
// replaced only when all is whole.
func (o options) write(images []built) ([]named, error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil { //nolint:gosec // others may read it
		return nil, err
	}
	part, err := os.MkdirTemp(o.out, ".image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(part)
	dir, base := filepath.Join(part, "image"), "khook-"+o.version
	path, digests, err := o.layout(dir, images)
	if err != nil {
		return nil, err
	}
	// The tar has the image only: tools that load one unpack whatever its index names.
	if err := o.tar(dir, filepath.Join(part, base+".oci.tar")); err != nil {
		return nil, err
	}
	for _, b := range images {
		found, err := appendSBOM(path, b)
		if err != nil {
			return nil, err
		}
		digests = append(digests, named{found.String(), b.platform.String()})
	}
	if err := readable(dir); err != nil {
		return nil, err
	}
	for _, b := range images {
		if err := os.WriteFile(filepath.Join(part, base+"-"+fileName(b.platform)+".cdx.json"), b.sbom, 0o644); err != nil { //nolint:gosec // others may read it
			return nil, err
		}
	}
	made, err := os.ReadDir(part)
	if err != nil {
		return nil, err
	}
	for _, f := range made {
		to := filepath.Join(o.out, f.Name())
		if err := os.RemoveAll(to); err != nil {
			return nil, err
		}
		if err := os.Rename(filepath.Join(part, f.Name()), to); err != nil {
			return nil, err
		}
	}
	return digests, nil
}

func fileName(p v1.Platform) string { return strings.ReplaceAll(p.String(), "/", "-") }

// readable lets everybody read the files of a folder.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o644) //nolint:gosec // others may read it
	})
}

// layout writes an OCI layout: an index of the images, by name.
func (o options) layout(dir string, images []built) (layout.Path, []named, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: b.image, Descriptor: v1.Descriptor{Platform: &b.platform}})
	}
	index = mutate.Annotations(index, o.labels()).(v1.ImageIndex) //nolint:forcetypeassert // it gives back what it is given
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return "", nil, err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          o.repository + ":" + o.version,
		"org.opencontainers.image.ref.name": o.version,
	})); err != nil {
		return "", nil, err
	}
	digest, err := index.Digest()
	return path, []named{{digest.String(), o.repository + ":" + o.version}}, err
}

// appendSBOM adds the SBOM of an image to the layout, as an artifact whose subject is the image (a
// referrer, as of OCI 1.1), and returns the image's digest.
func appendSBOM(path layout.Path, b built) (v1.Hash, error) {
	subject, err := partial.Descriptor(b.image)
	if err != nil {
		return v1.Hash{}, err
	}
	artifact, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(b.sbom, sbomType))
	if err != nil {
		return v1.Hash{}, err
	}
	artifact = mutate.ConfigMediaType(artifact, sbomType)
	artifact = mutate.Subject(artifact, v1.Descriptor{MediaType: subject.MediaType, Size: subject.Size, Digest: subject.Digest}).(v1.Image) //nolint:forcetypeassert // it gives back what it is given
	return subject.Digest, path.AppendImage(artifact, layout.WithAnnotations(map[string]string{"org.opencontainers.image.title": "SBOM of " + b.platform.String()}))
}

// tar packs the layout, the files that say what it is first.
func (o options) tar(dir, to string) error {
	var entries []entry
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			entries = append(entries, entry{name + "/", 0o755, nil})
			return nil
		}
		body, err := os.ReadFile(path)
		entries = append(entries, entry{name, 0o644, body})
		return err
	})
	if err != nil {
		return fmt.Errorf("read the layout: %w", err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].name < entries[j].name })
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := archive(out, o.when, entries); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
