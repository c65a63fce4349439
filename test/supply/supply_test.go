// Package supply holds what khook is built from and by: one Go everywhere, and each tool at one exact
// version, so that a checkout gives the same program tomorrow.
package supply

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// read is the text of a file of khook's.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files are those of khook's, by name, that a test picks.
func files(t *testing.T, picked func(name string) bool) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "node_modules", ".cache"}, d.Name()) {
			return fs.SkipDir
		}
		if !d.IsDir() && picked(filepath.ToSlash(name)) {
			found = append(found, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("found %d files: %v", len(found), err)
	}
	return found
}

// goRelease is the Go that go.mod names, such as go1.26.11.
func goRelease(t *testing.T) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^toolchain (go\d+\.\d+\.\d+)$`).FindStringSubmatch(read(t, "go.mod"))
	if found == nil {
		t.Fatal(`go.mod has no line such as "toolchain go1.26.11"`)
	}
	return found[1]
}

func TestEveryModuleNamesTheSameGo(t *testing.T) {
	want := "\ntoolchain " + goRelease(t) + "\n"
	for _, name := range files(t, func(name string) bool { return filepath.Base(name) == "go.mod" }) {
		if !strings.Contains(read(t, name), want) {
			t.Errorf("%s does not say %q, as go.mod does", name, strings.TrimSpace(want))
		}
	}
}

func TestTheDockerfileBuildsByTheGoOfGoMod(t *testing.T) {
	want := "golang:" + strings.TrimPrefix(goRelease(t), "go")
	for _, from := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+)`).FindAllStringSubmatch(read(t, "Dockerfile"), -1) {
		if image := from[1]; image != want && image != "scratch" {
			t.Errorf("Dockerfile builds from %s: it must be %s, the Go that go.mod names", image, want)
		}
	}
}

// TestMakeAndCITakeThatGoWhereTheEnvironmentForbidsIt is the state of build machines: GOTOOLCHAIN=local.
func TestMakeAndCITakeThatGoWhereTheEnvironmentForbidsIt(t *testing.T) {
	t.Setenv("GOTOOLCHAIN", "local")
	for what, command := range map[string][]string{
		"make":    {"make", "show-go"},
		".ci/run": {".ci/run", "--show-go"},
	} {
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, out)
		}
		for _, text := range []string{"GOTOOLCHAIN is set to auto", "go.mod names " + goRelease(t), "(GOTOOLCHAIN=auto)"} {
			if !strings.Contains(string(out), text) {
				t.Errorf("%s does not say %q:\n%s", what, text, out)
			}
		}
	}
}

// moving is what takes another version tomorrow.
var moving = regexp.MustCompile(`@(latest|main|master|upgrade|HEAD)\b|:latest\b|\bgo install [^@\s]+$|\bnpx\b|\bnpm (install|update)\b|curl .*\| *(ba)?sh`)

func TestNothingIsBuiltByAToolThatMoves(t *testing.T) {
	build := func(name string) bool {
		return name == "Makefile" || name == "Dockerfile" || strings.HasPrefix(name, ".ci/") || strings.HasPrefix(name, ".github/")
	}
	for _, name := range files(t, build) {
		for i, line := range strings.Split(read(t, name), "\n") {
			// What the nightly check is for: the newest database of vulnerabilities, and nothing else.
			line = strings.ReplaceAll(line, "golang.org/x/vulndb@latest", "")
			if found := moving.FindString(line); found != "" {
				t.Errorf("%s, line %d has %q: name an exact version", name, i+1, found)
			}
		}
	}
}

func TestActionsArePinnedByCommit(t *testing.T) {
	pinned := regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d`)
	for _, name := range files(t, func(name string) bool { return strings.HasPrefix(name, ".github/workflows/") }) {
		for i, line := range strings.Split(read(t, name), "\n") {
			if strings.Contains(line, "uses:") && !pinned.MatchString(line) {
				t.Errorf("%s, line %d: pin it by commit, with the version as a comment", name, i+1)
			}
		}
	}
}

func TestPackagesOfNpmAreLockedByHashAndNameNoRegistry(t *testing.T) {
	exact := regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	for _, name := range files(t, func(name string) bool { return filepath.Base(name) == "package.json" }) {
		var manifest struct{ Dependencies map[string]string }
		if err := json.Unmarshal([]byte(read(t, name)), &manifest); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for dependency, version := range manifest.Dependencies {
			if !exact.MatchString(version) {
				t.Errorf("%s has %s %s: name an exact version", name, dependency, version)
			}
		}
		var lock struct {
			Packages map[string]struct{ Version, Resolved, Integrity string }
		}
		if err := json.Unmarshal([]byte(read(t, filepath.Join(filepath.Dir(name), "package-lock.json"))), &lock); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for path, p := range lock.Packages {
			if path != "" && (p.Version == "" || !strings.HasPrefix(p.Integrity, "sha512-") || p.Resolved != "") {
				t.Errorf("the lock of %s has %s with version %q, hash %q, address %q: it needs the first two, and no address", name, path, p.Version, p.Integrity, p.Resolved)
			}
		}
	}
}

// TestEachGoModuleGetsUpdates: what Kubernetes is built from has versions that belong together, and is raised by hand.
func TestEachGoModuleGetsUpdates(t *testing.T) {
	list := read(t, ".github/dependabot.yml")
	for _, name := range files(t, func(name string) bool { return filepath.Base(name) == "go.mod" }) {
		dir := "/" + strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), ".")
		if strings.HasPrefix(dir, "/test/cluster/build/") {
			continue
		}
		if !strings.Contains(list, "\n      - "+dir+"\n") {
			t.Errorf(".github/dependabot.yml does not list %s", dir)
		}
	}
}

// testedKubernetes are the versions of the table that the tests run on, the newest last.
func testedKubernetes(t *testing.T) []string {
	t.Helper()
	var minors []string
	for line := range strings.Lines(read(t, "test/cluster/versions.txt")) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] != "#" {
			minors = append(minors, fields[0])
		}
	}
	if len(minors) < 3 {
		t.Fatalf("the table has %q", minors)
	}
	return minors
}

// TestWhatIsSaidOfTestedClustersIsWhatIsTested holds the workflow and the documents to the table of versions.
func TestWhatIsSaidOfTestedClustersIsWhatIsTested(t *testing.T) {
	minors := testedKubernetes(t)
	last := len(minors) - 1
	prose := strings.Join(minors[:last], ", ") + " and " + minors[last]
	const nightly = ".github/workflows/nightly.yaml"
	for _, tc := range []struct{ file, want string }{
		{nightly, `k8s: ["` + strings.Join(minors, `", "`) + `"]`},
		{nightly, "make test-go K8S=${{ matrix.k8s }}"},
		{"README.md", prose},
		{"docs/install.md", prose},
	} {
		if !strings.Contains(strings.Join(strings.Fields(read(t, tc.file)), " "), tc.want) {
			t.Errorf("%s does not say %s", tc.file, tc.want)
		}
	}
}

// TestMakeRefusesAKubernetesThatIsNotThere: at once, not after all that comes before the tests.
func TestMakeRefusesAKubernetesThatIsNotThere(t *testing.T) {
	minors := testedKubernetes(t)
	for _, minor := range append(minors, "", "9.9") {
		cmd := exec.CommandContext(t.Context(), "make", "--dry-run", "help", "K8S="+minor)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if refused := err != nil; refused != (minor == "9.9") {
			t.Errorf("K8S=%s: %v\n%s", minor, err, out)
		}
		if list := strings.Join(minors, " "); minor == "9.9" && !strings.Contains(string(out), list) {
			t.Errorf("make does not name %s:\n%s", list, out)
		}
	}
}
