package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// counted is a number with a plural behind it, which is wrong for 1: incident.Counted says both.
	counted = regexp.MustCompile(`([a-z]+ )?%d (?:more |open |dead )?(events|incidents|deliveries|calls|[hH]ooks|tokens|signals|pauses|findings|letters|times|streams|questions|agents|namespaces|duplicates|versions|groups)\b`)
	// bounded are words before a number that is a bound, or a part of a whole, of which there are always several.
	bounded = map[string]bool{"than ": true, "of ": true, "most ": true, "about ": true, "least ": true}
)

// TestNumbersAgreeWithWhatTheyCount looks at the texts that people read.
func TestNumbersAgreeWithWhatTheyCount(t *testing.T) {
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasSuffix(d.Name(), "test") { // packages for tests
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING {
				return true
			}
			for _, m := range counted.FindAllStringSubmatch(text.Value, -1) {
				if !bounded[m[1]] && !strings.Contains(path, "notify/shape.go") { // which asks whether it is one
					t.Errorf("%s: %q: incident.Counted makes it agree", set.Position(text.Pos()), m[0])
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
