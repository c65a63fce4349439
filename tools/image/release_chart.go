package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// chart writes the Helm chart of the version, and what kubectl applies in its place.
func (o options) chart(ctx context.Context, helm string) error {
	dir, err := os.MkdirTemp("", "khook-chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, name := filepath.Join(o.source, "charts", "khook"), "khook-"+o.version+".tgz"
	if _, err := output(ctx, helm, "package", source, "--version", o.version, "--app-version", o.version, "--destination", dir); err != nil {
		return err
	}
	// helm takes the times and the order of its own: packed once more, the same chart has the same checksum.
	entries, err := unpack(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("read the chart that helm has packed: %w", err)
	}
	packed := filepath.Join(o.out, name)
	if err := writeArchive(packed, o.when, entries); err != nil {
		return err
	}
	manifests, err := output(ctx, helm, "template", "khook", packed, "--namespace", "kagent", "--set", "namespace.create=true")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.out, "install.yaml"), manifests, 0o644) //nolint:gosec // others may read it
}

// output is what a program prints.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return nil, fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), args[0], err, failed.Stderr)
	}
	return out, err
}

// unpack are the files in a tar.gz, in its order.
func unpack(name string) ([]entry, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{h.Name, h.Mode & 0o777, body})
	}
}
