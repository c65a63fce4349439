package house

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var modelsOfMakefile = regexp.MustCompile(`(?s)\nMODELS := (.*?[^\\])\n`)

// TestEachModelRunsInFull: a test that draws fewer inputs with the race detector is one that "make test-models" runs without.
func TestEachModelRunsInFull(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	found := modelsOfMakefile.FindSubmatch(makefile)
	if found == nil {
		t.Fatal("the Makefile has no MODELS")
	}
	listed := strings.Fields(strings.ReplaceAll(string(found[1]), "\\\n", " "))
	var models []string
	_, files := parsed(t)
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && checksProperty(f.Body) {
				models = append(models, f.Name.Name)
			}
		}
	}
	slices.Sort(models)
	slices.Sort(listed)
	if !slices.Equal(models, listed) {
		t.Errorf("the Makefile's MODELS are\n%v, and the tests with proptest.Check\n%v", listed, models)
	}
}

func checksProperty(body *ast.BlockStmt) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.SelectorExpr); ok && call.Sel.Name == "Check" {
			x, ok := call.X.(*ast.Ident)
			found = found || ok && x.Name == "proptest"
		}
		return !found
	})
	return found
}
