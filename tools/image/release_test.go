package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkout is a git checkout of a copy of khook, with one commit and a changelog that has 1.2.3.
func checkout(t *testing.T) string {
	t.Helper()
	dir := copied(t)
	shell(t, dir, `(cd "$0" && cp -R --parents charts LICENSE README.md -t "$1")
		printf '# Changelog\n\n## [1.2.3] - 2026-01-02\n' >CHANGELOG.md
		printf '/dist/\n' >.gitignore
		git init -q && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm "A commit" --date 2026-01-02T03:04:05Z`)
	return dir
}

// shell runs a script in a folder; $0 is khook's folder and $1 that of the script.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script, root, dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// released makes a release of one platform, and returns its folder.
func released(t *testing.T, source string) string {
	t.Helper()
	if os.Getenv("HELM") == "" {
		t.Fatal(`HELM is not set: run "make test", or set it to a helm program`)
	}
	err := run(t.Context(), []string{"release", "--source", source, "--version", "v1.2.3", "--platforms", "linux/amd64", "--helm", os.Getenv("HELM")})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(source, "dist", "release", "v1.2.3")
}

func TestAReleaseIsWholeAndTheSameWhenItIsMadeAgain(t *testing.T) {
	source := checkout(t)
	dir := released(t, source)
	shell(t, dir, "sha256sum --quiet --check --strict SHA256SUMS")
	first, err := os.ReadFile(filepath.Join(dir, sums))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"khook-1.2.3-linux-amd64.tar.gz", "khook-1.2.3-linux-amd64.cdx.json", "khook-1.2.3.oci.tar", "khook-1.2.3.tgz", "install.yaml", "khook.krew.yaml",
	} {
		if !bytes.Contains(first, []byte("  "+name+"\n")) {
			t.Errorf("%s is not in the release", name)
		}
	}
	archiveIsWhole(t, filepath.Join(dir, "khook-1.2.3-linux-amd64.tar.gz"))
	chart := shell(t, dir, "tar -xzOf khook-1.2.3.tgz khook/Chart.yaml")
	for _, want := range []string{"version: 1.2.3\n", "appVersion: 1.2.3\n"} {
		if !strings.Contains(chart, want) {
			t.Errorf("the chart does not say %q:\n%s", want, chart)
		}
	}
	install := shell(t, dir, "cat install.yaml")
	for _, want := range []string{"khook/khook:1.2.3", "kind: Namespace", "kind: CustomResourceDefinition"} {
		if !strings.Contains(install, want) {
			t.Errorf("install.yaml has no %q", want)
		}
	}
	sum := strings.Fields(shell(t, dir, "sha256sum khook-1.2.3-linux-amd64.tar.gz"))[0]
	krew := shell(t, dir, "cat khook.krew.yaml")
	for _, want := range []string{"  version: v1.2.3\n", "        os: linux\n        arch: amd64\n    uri: https://github.com/kagent-dev/khook/releases/download/v1.2.3/khook-1.2.3-linux-amd64.tar.gz\n    sha256: " + sum + "\n    bin: khook\n"} {
		if !strings.Contains(krew, want) {
			t.Errorf("the manifest for krew has no %q:\n%s", want, krew)
		}
	}
	second, err := os.ReadFile(filepath.Join(released(t, source), sums))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("made again it is another one (%v):\n%s\n%s", err, first, second)
	}
}

// archiveIsWhole holds that an archive of the program has what users need, and runs.
func archiveIsWhole(t *testing.T, name string) {
	t.Helper()
	entries, err := unpack(name)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.name)
		if len(e.body) == 0 {
			t.Errorf("%s is empty", e.name)
		}
	}
	if !slices.Equal(names, []string{"khook", "LICENSE", "README.md"}) || entries[0].mode != 0o755 {
		t.Errorf("it has %q, and khook has mode %o", names, entries[0].mode)
	}
	isStatic(t, entries[0].body)
	if !bytes.Contains(entries[0].body, []byte("1.2.3")) {
		t.Error("khook does not know its version")
	}
}

func TestAReleaseIsRefused(t *testing.T) {
	for what, c := range map[string]struct{ version, before, says string }{
		"no version":                  {"", "", "such as v0.1.0"},
		"no v":                        {"1.2.3", "", "such as v0.1.0"},
		"half a version":              {"v1.2", "", "such as v0.1.0"},
		"a leading zero":              {"v1.02.3", "", "such as v0.1.0"},
		"build metadata":              {"v1.2.3+x", "", "such as v0.1.0"},
		"what git describe says":      {"v1.2.3-4-gabc_def", "", "such as v0.1.0"},
		"a path":                      {"v1.2.3/../x", "", "such as v0.1.0"},
		"changes without a commit":    {"v1.2.3", "echo >>README.md", "README.md"},
		"a file that git has not":     {"v1.2.3", "touch new.go", "new.go"},
		"nothing in the changelog":    {"v1.2.4", "", `no section "## [1.2.4] - DATE"`},
		"a folder that is not of git": {"v1.2.3", "rm -rf .git", "not a git checkout"},
	} {
		t.Run(what, func(t *testing.T) {
			source := t.TempDir()
			shell(t, source, `printf '# Changelog\n\n## [1.2.3] - 2026-01-02\n' >CHANGELOG.md; touch README.md
				git init -q && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm "A commit"
				`+c.before)
			err := run(t.Context(), []string{"release", "--source", source, "--version", c.version, "--helm", "none-such"})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q in it", err, c.says)
			}
			if _, err := os.Stat(filepath.Join(source, "dist")); err == nil {
				t.Error("something was made all the same")
			}
		})
	}
}
