package main

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// How cosign keeps a signature: an image of one layer, the payload, whose descriptor is annotated
// with the signature. In a registry it has a tag derived from the digest of what is signed; in a
// layout, cosign knows both by the annotation "kind" (cosign/pkg/oci/layout).
const (
	payloadType         = types.MediaType("application/vnd.dev.cosign.simplesigning.v1+json")
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	kindAnnotation      = "kind"
	kindIndex           = "dev.cosignproject.cosign/imageIndex"
	kindSignatures      = "dev.cosignproject.cosign/sigs"
	refAnnotation       = "org.opencontainers.image.ref.name"
	nameAnnotation      = "io.containerd.image.name"
)

// payload is what is signed of an image: its digest, and the name that it is given.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]string `json:"optional"`
}

const payloadKind = "cosign container image signature"

// signatureTag is the tag that cosign looks for the signature of a digest by.
func signatureTag(digest v1.Hash) string { return digest.Algorithm + "-" + digest.Hex + ".sig" }

// signedIndex is the descriptor of the image in a layout that write has made: the index of all platforms.
func signedIndex(path layout.Path) (v1.Descriptor, error) {
	top, err := path.ImageIndex()
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, d := range manifest.Manifests {
		if d.MediaType == types.OCIImageIndex && d.Annotations[nameAnnotation] != "" {
			return d, nil
		}
	}
	return v1.Descriptor{}, errors.New("the layout has no image of khook")
}

// signLayout adds the signature of the image to a layout, in place of an older one, and says its tag.
func signLayout(dir string, key *ecdsa.PrivateKey) (string, error) {
	path, err := layout.FromPath(dir)
	if err != nil {
		return "", fmt.Errorf("read the image in %s: %w; make image writes it", dir, err)
	}
	image, err := signedIndex(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	signature, err := signatureImage(image, key)
	if err != nil {
		return "", err
	}
	image.Annotations[kindAnnotation] = kindIndex
	tag := signatureTag(image.Digest)
	if err := path.RemoveDescriptors(match.Digests(image.Digest)); err != nil {
		return "", err
	}
	if err := path.AppendDescriptor(image); err != nil {
		return "", err
	}
	// The older one may be of another image: this layout is of one.
	if err := path.RemoveDescriptors(match.Annotation(kindAnnotation, kindSignatures)); err != nil {
		return "", err
	}
	return tag, path.AppendImage(signature, layout.WithAnnotations(map[string]string{kindAnnotation: kindSignatures, refAnnotation: tag}))
}

func signatureImage(of v1.Descriptor, key *ecdsa.PrivateKey) (v1.Image, error) {
	var p payload
	p.Critical.Identity.Reference, _, _ = strings.Cut(of.Annotations[nameAnnotation], ":"+of.Annotations[refAnnotation])
	p.Critical.Image.Digest, p.Critical.Type = of.Digest.String(), payloadKind
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.Append(base, mutate.Addendum{Layer: static.NewLayer(text, payloadType), MediaType: payloadType, Annotations: map[string]string{signatureAnnotation: signature}})
}

// verifyLayout holds that the image in a layout is signed by the key.
func verifyLayout(dir string, key *ecdsa.PublicKey) error {
	path, err := layout.FromPath(dir)
	if err != nil {
		return err
	}
	image, err := signedIndex(path)
	if err != nil {
		return err
	}
	top, err := path.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		if d.Annotations[refAnnotation] == signatureTag(image.Digest) {
			return verifySignatureImage(path, d.Digest, image.Digest, key)
		}
	}
	return errors.New("the image is not signed")
}

// maxPayload bounds what is read of a payload, in bytes.
const maxPayload = 64 << 10

func verifySignatureImage(path layout.Path, signature, of v1.Hash, key *ecdsa.PublicKey) error {
	image, err := path.Image(signature)
	if err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	if len(manifest.Layers) != 1 {
		return fmt.Errorf("the signature has %d payloads, where there is one", len(manifest.Layers))
	}
	blob, err := path.Blob(manifest.Layers[0].Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	text, err := io.ReadAll(io.LimitReader(blob, maxPayload))
	if err != nil {
		return err
	}
	if err := verify(key, bytes.NewReader(text), manifest.Layers[0].Annotations[signatureAnnotation]); err != nil {
		return err
	}
	var p payload
	if err := json.Unmarshal(text, &p); err != nil || p.Critical.Type != payloadKind || p.Critical.Image.Digest != of.String() {
		return errSignature
	}
	return nil
}
