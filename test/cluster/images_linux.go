package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// file is an entry of an image's file system.
type file struct {
	name string
	mode int64
	body []byte
	link string // of a symbolic link
}

// importImages makes the node's two images on the spot, since none can be pulled: pause for the
// sandboxes, and busybox for everything else; and adds those of the archives that were named.
func (c *cluster) importImages(ctx context.Context) error {
	pause := c.in("pause")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", pause, "./pause")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build pause: %w\n%s", err, out)
	}
	body, err := os.ReadFile(pause)
	if err != nil {
		return err
	}
	if err := c.importImage(ctx, "localhost/pause:1", []string{"/pause"}, []file{{name: "pause", mode: 0o755, body: body}}); err != nil {
		return err
	}
	files, err := busybox(ctx)
	if err != nil {
		return err
	}
	if err := c.importImage(ctx, "localhost/busybox:1", []string{"/bin/sh"}, files); err != nil {
		return err
	}
	for _, path := range c.images {
		cmd := exec.CommandContext(ctx, "ctr", "-a", c.in(socketName), "-n", "k8s.io", "images", "import", path)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("import %s: %w\n%s", path, err, out)
		}
	}
	return nil
}

func busybox(ctx context.Context) ([]file, error) {
	body, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, err
	}
	list, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	files := []file{
		{name: "tmp/", mode: 0o1777}, {name: "etc/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/:/bin/sh\n")},
		{name: "bin/", mode: 0o755}, {name: "bin/busybox", mode: 0o755, body: body},
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			files = append(files, file{name: "bin/" + applet, link: "busybox"})
		}
	}
	return files, nil
}

// importImage writes an image as docker save does, and gives it to containerd.
func (c *cluster) importImage(ctx context.Context, name string, entrypoint []string, files []file) error {
	layer, err := archive(files)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": entrypoint, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	image, err := archive([]file{
		{name: "config.json", mode: 0o644, body: config}, {name: "layer.tar", mode: 0o644, body: layer},
		{name: "manifest.json", mode: 0o644, body: manifest},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "ctr", "-a", c.in(socketName), "-n", "k8s.io", "images", "import", "-")
	cmd.Stdin = bytes.NewReader(image)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import %s: %w\n%s", name, err, out)
	}
	return nil
}

func archive(files []file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.link, 0o777
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
