package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// sums names the file with the checksum of each other file of a release.
const sums = "SHA256SUMS"

// semver is a version without the v of its tag. Build metadata is refused: it can't be in a tag of an image.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?$`)

// release builds all that a version consists of into a folder, and publishes nothing: archives of the
// program, the image, the chart, the manifests, SBOMs and checksums.
func release(ctx context.Context, args []string) error {
	o := options{}
	flags := flag.NewFlagSet("image release", flag.ContinueOnError)
	flags.StringVar(&o.source, "source", "../..", "khook's folder")
	flags.StringVar(&o.out, "out", "", "folder for what is made, below khook's folder if relative; dist/release/VERSION if empty")
	flags.StringVar(&o.repository, "repository", "cr.kagent.dev/kagent-dev/khook/khook", "name of the image")
	helm := flags.String("helm", "helm", "the program helm")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64,darwin/amd64,darwin/arm64", "platforms of the archives, separated by commas; those of Linux are the image's")
	tag := flags.String("version", "", "version to release, such as v0.1.0")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name := range strings.SplitSeq(*platforms, ",") {
		p, err := v1.ParsePlatform(name)
		if err != nil {
			return fmt.Errorf("--platforms has %q: %w", name, err)
		}
		o.platforms = append(o.platforms, *p)
	}
	var err error
	if o.source, err = filepath.Abs(o.source); err != nil {
		return err
	}
	if o.version, err = releasable(o.source, *tag); err != nil {
		return err
	}
	if o.out == "" {
		o.out = filepath.Join("dist", "release", "v"+o.version)
	}
	if !filepath.IsAbs(o.out) {
		o.out = filepath.Join(o.source, o.out)
	}
	o.revision = git(o.source, "rev-parse", "HEAD")
	if o.when, err = commitTime(o.source); err != nil {
		return err
	}
	if o.toolchain, err = namedToolchain(ctx, o.source); err != nil {
		return err
	}
	return o.release(ctx, *helm)
}

// releasable is the version that a tag names, if the checkout is in a state to be released.
func releasable(source, tag string) (string, error) {
	version, ok := strings.CutPrefix(tag, "v")
	if !ok || !semver.MatchString(version) {
		return "", fmt.Errorf("VERSION is %q: write a semantic version with a v before it, such as v0.1.0 or v0.2.0-rc.1", tag)
	}
	if git(source, "rev-parse", "HEAD") == "" {
		return "", fmt.Errorf("%s is not a git checkout: a release is made from a commit", source)
	}
	if changed := git(source, "status", "--porcelain"); changed != "" {
		return "", fmt.Errorf("the checkout has changes that are not committed, so nobody could build this release again:\n%s", changed)
	}
	text, err := os.ReadFile(filepath.Join(source, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	if !strings.Contains(version, "-") && !bytes.Contains(text, []byte("\n## ["+version+"] - ")) {
		return "", fmt.Errorf("CHANGELOG.md has no section %q: say what is new before it is released", "## ["+version+"] - DATE")
	}
	return version, nil
}

// release makes everything in a folder beside the one that it is for, which it replaces when all is whole.
func (o options) release(ctx context.Context, helm string) error {
	to := o.out
	o.out = to + ".part"
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	defer os.RemoveAll(o.out)
	fmt.Fprintf(os.Stderr, "image: khook %s is built by %s, as go.mod has it\n", o.version, o.toolchain)
	if err := o.programs(ctx); err != nil {
		return err
	}
	if err := o.chart(ctx, helm); err != nil {
		return err
	}
	if err := o.krew(); err != nil {
		return err
	}
	listed, err := checksums(o.out)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, sums), listed, 0o644); err != nil { //nolint:gosec // others may read it
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(o.out, to); err != nil {
		return err
	}
	fmt.Printf("%s%s\n", listed, to)
	return nil
}

// programs writes the image, and an archive and an SBOM for each platform.
func (o options) programs(ctx context.Context) error {
	var images []built
	for _, p := range o.platforms {
		b, err := o.build(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.String(), err)
		}
		if p.OS == "linux" {
			images = append(images, b)
		}
		base := filepath.Join(o.out, "khook-"+o.version+"-"+fileName(p))
		if err := o.archive(base+".tar.gz", b.program); err != nil {
			return err
		}
		if err := os.WriteFile(base+".cdx.json", b.sbom, 0o644); err != nil { //nolint:gosec // others may read it
			return err
		}
	}
	_, err := o.write(images)
	return err
}

// archive packs khook, its license and its README, as users unpack them.
func (o options) archive(to string, program []byte) error {
	entries := []entry{{"khook", 0o755, program}}
	for _, name := range []string{"LICENSE", "README.md"} {
		body, err := os.ReadFile(filepath.Join(o.source, name))
		if err != nil {
			return err
		}
		entries = append(entries, entry{name, 0o644, body})
	}
	return writeArchive(to, o.when, entries)
}

// writeArchive writes a tar.gz in which nothing but its entries and the time counts.
func writeArchive(to string, when time.Time, entries []entry) error {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := errors.Join(archive(z, when, entries), z.Close()); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // others may read it
		return err
	}
	return os.WriteFile(to, packed.Bytes(), 0o644) //nolint:gosec // others may read it
}

// checksums are those of the files in a folder, in the form of sha256sum. What is in folders is
// addressed by its digest.
func checksums(dir string) ([]byte, error) {
	found, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var listed bytes.Buffer
	for _, f := range found {
		if !f.Type().IsRegular() || f.Name() == sums {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&listed, "%x  %s\n", sha256.Sum256(body), f.Name())
	}
	return listed.Bytes(), nil
}
