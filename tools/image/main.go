// Command image builds khook's container image without a container engine: it compiles khook for
// each platform, puts the program into an image of its own (there is no base image), describes
// what it is made of in an SBOM, and writes all as an OCI layout and as a tar of it.
//
// The same source and version give the same digests, wherever and whenever it runs: it builds by
// exactly the Go that khook's go.mod names.
//
// "image sign" signs what was built, in cosign's form, and "image verify" checks that.
// "image release" builds all that a version consists of.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options say what to build.
type options struct {
	source     string // khook's folder
	out        string
	version    string
	revision   string // commit
	repository string
	platforms  []v1.Platform
	toolchain  string    // the Go release that builds khook
	when       time.Time // of everything in the image
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "sign":
			return signAll(args[1:])
		case "verify":
			return verifyAll(args[1:])
		case "release":
			return release(ctx, args[1:])
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.toolchain, err = namedToolchain(ctx, o.source); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "image: khook is built by %s, as go.mod has it\n", o.toolchain)
	images, err := o.images(ctx)
	if err != nil {
		return err
	}
	digests, err := o.write(images)
	if err != nil {
		return err
	}
	for _, d := range digests {
		fmt.Printf("%s  %s\n", d.digest, d.name)
	}
	return nil
}

func parse(args []string) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.source, "source", "../..", "khook's folder")
	flags.StringVar(&o.out, "out", "dist", "folder for what is made, below khook's folder if relative")
	flags.StringVar(&o.version, "version", "devel", "version of khook, and tag of the image")
	flags.StringVar(&o.repository, "repository", "cr.kagent.dev/kagent-dev/khook/khook", "name of the image")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "platforms, separated by commas")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(*platforms, ",") {
		p, err := v1.ParsePlatform(strings.TrimSpace(name))
		if err != nil || p.OS != "linux" || p.Architecture == "" {
			return o, fmt.Errorf("--platforms has %q: write it such as linux/arm64", name)
		}
		o.platforms = append(o.platforms, *p)
	}
	var err error
	if o.source, err = filepath.Abs(o.source); err != nil {
		return o, err
	}
	if !filepath.IsAbs(o.out) {
		o.out = filepath.Join(o.source, o.out)
	}
	o.revision = git(o.source, "rev-parse", "HEAD")
	o.when, err = commitTime(o.source)
	return o, err
}

// commitTime is SOURCE_DATE_EPOCH, or else the time of the commit, or else 1970.
func commitTime(dir string) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		text = git(dir, "log", "-1", "--format=%ct")
	}
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: write it in seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// git is what git answers, or "" where the source is no repository.
func git(dir string, args ...string) string {
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output() //nolint:noctx // returns at once
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
