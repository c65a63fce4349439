package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// Files are plain, and none of them depends on when or where it was built; see docs/decisions/0033-dashboard.md.
//
//go:embed all:dist
var dist embed.FS

// Policy is the Content-Security-Policy of the page: nothing runs, and nothing is loaded, that is not a file of this
// package, and what comes of a cluster or of an agent can't become markup by accident (Trusted Types, without a policy).
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// pages are the first segments of the paths of the page; web/src/app.tsx has what each shows.
var pages = map[string]bool{
	"": true, "incidents": true, "deliveries": true, "hooks": true, "why": true, "agents": true, "trends": true, "health": true, "try": true, "login": true,
}

// base is where the page finds its files, as it is in the built index.html. It is replaced by one that is relative to the
// page that is asked for, so that neither khook nor the files need to know below which path a proxy shows them.
const base = `<base href="./">`

// Dashboard serves the page.
type Dashboard struct {
	files map[string]*file
	index string
}

// file is one file as it is sent.
type file struct {
	body, compressed  []byte // compressed is nil if that makes it no smaller
	contentType, etag string
}

// New reads the embedded files, and compresses them once.
func New() (*Dashboard, error) {
	root, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	return load(root)
}

func load(root fs.FS) (*Dashboard, error) {
	d := &Dashboard{files: map[string]*file{}}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if name == "index.html" {
			d.index = string(body)
			return nil
		}
		if d.files[name], err = newFile(body, mime.TypeByExtension(path.Ext(name))); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err == nil && strings.Count(d.index, base) != 1 {
		err = errors.New("index.html is missing, or has no " + base)
	}
	return d, err
}

func newFile(body []byte, contentType string) (*file, error) {
	if contentType == "" {
		return nil, errors.New("no content type is known for such a file")
	}
	sum := sha256.Sum256(body)
	f := &file{body: body, contentType: contentType, etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() < len(body) {
		f.compressed = b.Bytes()
	}
	return f, nil
}

// Serves says whether a path is one of the page or of its files.
func (d *Dashboard) Serves(urlPath string) bool {
	name := strings.TrimPrefix(urlPath, "/")
	first, _, _ := strings.Cut(name, "/")
	return pages[first] || d.files[name] != nil
}

// ServeHTTP implements http.Handler, for what it Serves.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the dashboard is only read", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	f, caching := d.files[name], "public, max-age=31536000, immutable" // their names have a hash of what they hold
	if !strings.HasPrefix(name, "assets/") {
		caching = "no-cache"
	}
	if f == nil {
		var err error
		if f, err = d.page(name); err != nil {
			http.Error(w, "the page can't be shown", http.StatusInternalServerError)
			return
		}
	}
	h := w.Header()
	h.Set("Cache-Control", caching)
	h.Set("Content-Security-Policy", Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	f.send(w, r)
}

// page is index.html for a path of the page: each segment but the last is one folder up to its files.
func (d *Dashboard) page(name string) (*file, error) {
	up := "./"
	if n := strings.Count(name, "/"); n > 0 {
		up = strings.Repeat("../", n)
	}
	return newFile([]byte(strings.Replace(d.index, base, `<base href="`+up+`">`, 1)), "text/html; charset=utf-8")
}

// send answers with the file, compressed where the client takes that, and with 304 where it has it.
func (f *file) send(w http.ResponseWriter, r *http.Request) {
	h, body, etag := w.Header(), f.body, f.etag
	h.Set("Vary", "Accept-Encoding")
	if f.compressed != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		body, etag = f.compressed, strings.TrimSuffix(f.etag, `"`)+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", f.contentType)
	h.Set("ETag", etag)
	for known := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(known), "W/") == etag {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) //nolint:gosec // a file of this package; if it fails, the client has left
}

// takesGzip reads an Accept-Encoding: gzip is named, and not with q=0.
func takesGzip(accept string) bool {
	for clause := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.ToLower(strings.TrimSpace(clause)), ";")
		if strings.TrimSpace(name) == "gzip" {
			q = strings.TrimPrefix(strings.TrimSpace(q), "q=")
			return strings.Trim(q, "0.") != "" || q == ""
		}
	}
	return false
}
