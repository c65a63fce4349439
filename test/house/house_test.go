// Package house holds how the code is laid out: which package may import which, and that no name hides another.
package house

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	root   = "../.."
	module = "github.com/kagent-dev/khook/"
)

// imports are what each package imports of khook's own, tests not counted.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./cmd/...", "./internal/...", "./api/...", "./config/...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		own := []string{}
		for _, i := range p.Imports {
			if name, ok := strings.CutPrefix(i, module); ok {
				own = append(own, strings.TrimPrefix(name, "internal/"))
			}
		}
		found[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")] = own
	}
	return found
}

// row is one of the table of imports in docs/design.md: a package and what it may import.
type row struct {
	pkg   string
	allow []string
}

// rows are the table of imports, in its order.
func rows(t *testing.T) (all []row) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("`([a-z0-9/]+)`")
	_, rest, ok := strings.Cut(string(text), "| package | may import |")
	if !ok {
		t.Fatal("docs/design.md has no table of imports")
	}
	for line := range strings.Lines(rest) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			if strings.TrimSpace(line) == "" {
				if len(all) > 0 {
					break
				}
			}
			continue
		}
		for _, p := range name.FindAllStringSubmatch(cells[1], -1) {
			allowed := []string{}
			for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
				allowed = append(allowed, m[1])
			}
			all = append(all, row{p[1], allowed})
		}
	}
	return all
}

// table is what each package may import.
func table(t *testing.T) map[string][]string {
	found := map[string][]string{}
	for _, r := range rows(t) {
		found[r.pkg] = r.allow
	}
	return found
}

func TestTheTableOfImportsGoesUpwards(t *testing.T) {
	above := map[string]bool{}
	for _, r := range rows(t) {
		if above[r.pkg] {
			t.Errorf("docs/design.md: %s has two rows", r.pkg)
		}
		for _, p := range r.allow {
			if !above[p] {
				t.Errorf("docs/design.md: %s imports %s, which is not above it", r.pkg, p)
			}
		}
		above[r.pkg] = true
	}
}

// TestEachPackageIsExplained: a reader finds each package, and each folder of tests, in the table of what they are.
func TestEachPackageIsExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, explained, _ := strings.Cut(string(text), "| package | what it is |")
	explained, _, ok := strings.Cut(explained, "\n\n")
	if !ok {
		t.Fatal("docs/design.md has no table of packages")
	}
	all := slices.Sorted(maps.Keys(imports(t)))
	tests, err := os.ReadDir(filepath.Join(root, "test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tests {
		all = append(all, "test/"+f.Name())
	}
	for _, p := range all {
		if !strings.Contains(explained, "`"+p+"`") {
			t.Errorf("docs/design.md does not say what %s is", p)
		}
	}
}

// guarded is what the linter lets each package import.
func guarded(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						Files []string
						Allow []string
						Deny  []struct{ Pkg string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for rule, r := range config.Linters.Settings.Depguard.Rules {
		if len(r.Deny) != 1 || r.Deny[0].Pkg != strings.TrimSuffix(module, "/") || len(r.Files) != 2 || r.Files[1] != "!$test" {
			t.Errorf("the rule %s does not deny all of khook's packages to those files that are no tests", rule)
		}
		dir := strings.TrimSuffix(strings.TrimPrefix(r.Files[0], "**/"), "/*.go")
		allowed := []string{}
		for _, a := range r.Allow {
			allowed = append(allowed, strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(a, "$"), module), "internal/"))
		}
		found[strings.TrimPrefix(dir, "internal/")] = allowed
	}
	return found
}

func TestThePackagesImportWhatTheTableSays(t *testing.T) {
	actual, said, held := imports(t), table(t), guarded(t)
	for _, p := range slices.Sorted(maps.Keys(actual)) {
		want := slices.Sorted(slices.Values(actual[p]))
		if got := slices.Sorted(slices.Values(said[p])); !slices.Equal(got, want) {
			t.Errorf("docs/design.md: %s may import %q, and imports %q", p, got, want)
		}
		if got := slices.Sorted(slices.Values(held[p])); !slices.Equal(got, want) {
			t.Errorf(".golangci.yml: %s may import %q, and imports %q", p, got, want)
		}
	}
	for _, other := range []map[string][]string{said, held} {
		for p := range other {
			if _, ok := actual[p]; !ok {
				t.Errorf("there is no package %s", p)
			}
		}
	}
}

// folders are those with Go code, in this module and in those of its own that tools and the tests' cluster are.
func folders(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, top := range []string{"api", "cmd", "config", "internal", "test", "tools"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			if err == nil && strings.HasSuffix(path, ".go") {
				found[filepath.Dir(path)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 40 {
		t.Fatalf("only %d folders", len(found))
	}
	return slices.Sorted(maps.Keys(found))
}

// TestNoLocalHidesANameOfItsPackage: a reader who sees a word must not have to ask which of two things it is.
func TestNoLocalHidesANameOfItsPackage(t *testing.T) {
	for _, dir := range folders(t) {
		for _, hidden := range hides(t, dir) {
			t.Error(hidden)
		}
	}
}

// hides tells the locals of a folder's packages that hide a package-level name. Tests may not hide those of the code,
// nor of each other.
func hides(t *testing.T, dir string) (found []string) {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files, globals := map[string]*ast.File{}, map[string]map[string]bool{}
	for _, name := range names {
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
		kind := kindOf(name, file)
		if globals[kind] == nil {
			globals[kind] = map[string]bool{}
		}
		for _, d := range file.Decls {
			declares(d, func(i *ast.Ident) { globals[kind][i.Name] = true })
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := files[name]
		code := strings.TrimSuffix(file.Name.Name, "_test")
		hidden := func(i *ast.Ident) {
			if i != nil && i.Name != "_" && (globals[code][i.Name] || strings.HasSuffix(name, "_test.go") && globals[kindOf(name, file)][i.Name]) {
				found = append(found, fmt.Sprintf("%s: %s hides a package-level name: give the one or the other a name that says what it is", set.Position(i.Pos()), i.Name))
			}
		}
		for _, d := range file.Decls {
			ast.Inspect(d, func(n ast.Node) bool { return locals(n, hidden) })
		}
	}
	return found
}

func kindOf(name string, file *ast.File) string {
	if strings.HasSuffix(name, "_test.go") {
		return file.Name.Name + " in tests"
	}
	return file.Name.Name
}

func declares(d ast.Decl, each func(*ast.Ident)) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.Name != "init" {
			each(d.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				each(s.Name)
			case *ast.ValueSpec:
				for _, i := range s.Names {
					each(i)
				}
			}
		}
	}
}

// locals calls each for the names that a node declares, and says whether to look into it.
func locals(n ast.Node, each func(*ast.Ident)) bool {
	fields := func(l *ast.FieldList) {
		for _, f := range l.List {
			for _, i := range f.Names {
				each(i)
			}
		}
	}
	switch n := n.(type) {
	case *ast.InterfaceType, *ast.StructType:
		return false
	case *ast.FuncDecl:
		if n.Recv != nil {
			fields(n.Recv)
		}
	case *ast.FuncType:
		for _, l := range []*ast.FieldList{n.Params, n.Results} {
			if l != nil {
				fields(l)
			}
		}
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			for _, e := range n.Lhs {
				if i, ok := e.(*ast.Ident); ok {
					each(i)
				}
			}
		}
	case *ast.RangeStmt:
		if n.Tok == token.DEFINE {
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if i, ok := e.(*ast.Ident); ok {
					each(i)
				}
			}
		}
	case *ast.DeclStmt:
		declares(n.Decl, each)
	}
	return true
}

// TestTheWalksGoThroughFilesThatExist: the walks of docs/design.md name the files that a reader opens one after the other.
func TestTheWalksGoThroughFilesThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, walks, _ := strings.Cut(string(text), "\n## Two walks\n")
	walks, _, _ = strings.Cut(walks, "\n## ")
	steps, file := 0, regexp.MustCompile("`([a-z0-9/_]+\\.go)`")
	for line := range strings.Lines(walks) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		folder := ""
		for _, m := range file.FindAllStringSubmatch(cells[3], -1) {
			steps++
			dir, name := filepath.Split(m[1])
			if dir != "" {
				folder = dir
			}
			if _, err := os.Stat(filepath.Join(root, "internal", folder, name)); err != nil {
				t.Errorf("the walk %q: %v", strings.TrimSpace(cells[1]), err)
			}
		}
	}
	if steps < 40 {
		t.Errorf("the walks have only %d files", steps)
	}
}
