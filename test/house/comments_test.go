package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// parsed is the code of the module, with its comments.
func parsed(t *testing.T) (set *token.FileSet, files map[string]*ast.File) {
	t.Helper()
	set, files = token.NewFileSet(), map[string]*ast.File{}
	for _, dir := range folders(t) {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if files[name], err = parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution); err != nil {
				t.Fatal(err)
			}
		}
	}
	return set, files
}

// TestCommentsNameWhatThereIs: a comment that names another package's type or function, or a file, is a way to it. It must
// not lead to where that was before.
func TestCommentsNameWhatThereIs(t *testing.T) {
	set, files := parsed(t)
	names, bases := map[string]map[string]bool{}, map[string]bool{}
	for path, file := range files {
		bases[filepath.Base(path)] = true
		pkg := file.Name.Name
		if names[pkg] == nil {
			names[pkg] = map[string]bool{}
		}
		for _, d := range file.Decls {
			declares(d, func(i *ast.Ident) { names[pkg][i.Name] = true })
		}
	}
	named := regexp.MustCompile(`(?:^|[^\w./"-])([a-z][a-z0-9]*)\.([A-Z]\w*)`)
	inFile := regexp.MustCompile(`(?:^|[^\w./*-])(\w+\.go)\b`)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		for _, group := range files[path].Comments {
			for _, c := range group.List {
				for _, m := range named.FindAllStringSubmatch(c.Text, -1) {
					name := m[1] + "." + m[2]
					if known := names[m[1]]; known != nil && !known[m[2]] {
						t.Error(stale(set, c, name))
					}
				}
				for _, m := range inFile.FindAllStringSubmatch(c.Text, -1) {
					if !bases[m[1]] {
						t.Error(stale(set, c, m[1]))
					}
				}
			}
		}
	}
}

func stale(set *token.FileSet, c *ast.Comment, name string) string {
	return fmt.Sprintf("%s: the comment names %s, which is not there", set.Position(c.Pos()), name)
}
