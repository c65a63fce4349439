package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

// krewFile is the manifest by which krew installs khook as kubectl khook: "kubectl krew install --manifest=khook.krew.yaml".
const krewFile = "khook.krew.yaml"

// homepage is where releases are published.
const homepage = "https://github.com/kagent-dev/khook"

// krew writes the manifest, with the checksums of the archives that are there.
func (o options) krew() error {
	var b bytes.Buffer
	fmt.Fprintf(&b, `apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: khook
spec:
  version: v%s
  homepage: %s
  shortDescription: See what failed in the cluster and which AI agents were called
  description: |
    Asks a running khook what failed in the cluster, why its Hooks called
    AI agents or did not, what the agents answered, and what came of it.
    Answers their questions, and stops their calls.
  caveats: |
    Needs a khook in the cluster, and the right to forward a port to its
    Pod (or --server). "kubectl khook --help" lists the commands.
  platforms:
`, o.version, homepage)
	for _, p := range o.platforms {
		name := "khook-" + o.version + "-" + fileName(p) + ".tar.gz"
		packed, err := os.ReadFile(filepath.Join(o.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, `  - selector:
      matchLabels:
        os: %s
        arch: %s
    uri: %s/releases/download/v%s/%s
    sha256: %x
    bin: khook
    files:
    - from: khook
      to: .
    - from: LICENSE
      to: .
`, p.OS, p.Architecture, homepage, o.version, name, sha256.Sum256(packed))
	}
	return os.WriteFile(filepath.Join(o.out, krewFile), b.Bytes(), 0o644) //nolint:gosec // others may read it
}
