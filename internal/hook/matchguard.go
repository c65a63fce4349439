package hook

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Bounds of what a match expression may need.
const (
	// costOfByte is what a byte costs of a text that a function makes, of celCost, where CEL's library
	// has no cost of its own for that. It counts a call of format by its format only: a chain of
	// eighteen takes all memory.
	costOfByte = 4
	// maxPattern bounds the instructions of a regular expression, and with them the work of matching a
	// message: x{1000} has a thousand.
	maxPattern = 2_000
	maxLoops   = 20 // macros such as exists
	maxMaps    = 4  // written in the expression
)

// madeText is an interpreter.ActualCostEstimator that counts the texts that functions make.
type madeText struct{}

// CallCost is what a call costs; nil leaves it to CEL.
func (madeText) CallCost(_, _ string, args []ref.Val, result ref.Val) *uint64 {
	size := 0
	switch result := result.(type) {
	case types.String:
		size = len(result)
	case types.Bytes:
		size = len(result)
	default:
		return nil
	}
	for _, arg := range args {
		if s, ok := arg.(types.String); ok {
			size += len(s) // so that making little of much is no way around it
		}
	}
	total := uint64(1 + costOfByte*size)
	return &total
}

var errNested = errors.New("lists and maps can't be put into lists and maps here: compare texts and numbers")

// guardParsed refuses an expression for which the type checker would need too much: the type of
// [1].map(a, {a: a}).map(a, {a: a}), and so on, doubles with each step, and that of lists in lists takes the cube of
// their depth.
func guardParsed(parsed *cel.Ast) error {
	loops, tables, nested := 0, 0, false
	ast.PostOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			loops++
		case ast.MapKind:
			tables++
			for _, entry := range e.AsMap().Entries() {
				nested = nested || aggregate(entry.AsMapEntry().Key()) || aggregate(entry.AsMapEntry().Value())
			}
		case ast.ListKind:
			nested = nested || slices.ContainsFunc(e.AsList().Elements(), aggregate)
		}
	}))
	switch {
	case nested:
		return errNested
	case loops > maxLoops:
		return fmt.Errorf("there are more than %d of exists, all, map and filter: use fewer", maxLoops)
	case tables > maxMaps:
		return fmt.Errorf("there are more than %d maps: use fewer", maxMaps)
	}
	return nil
}

func aggregate(e ast.Expr) bool { return e.Kind() == ast.ListKind || e.Kind() == ast.MapKind }

// guardChecked refuses an expression for whose evaluation the cost does not count.
func guardChecked(compiled *cel.Ast) error {
	checked := compiled.NativeRep()
	var found error
	ast.PostOrderVisit(checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if found == nil {
			found = guardExpr(checked, e)
		}
	}))
	return found
}

func guardExpr(checked *ast.AST, e ast.Expr) error {
	if nests(checked, e) {
		// Lists of lists can double their size at each step, and comparing them takes as long.
		return errNested
	}
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != overloads.Matches {
		return nil
	}
	args := e.AsCall().Args()
	pattern := args[len(args)-1]
	if pattern.Kind() != ast.LiteralKind {
		return errors.New("matches needs a constant pattern: write the regular expression as a text in quotes")
	}
	text, _ := pattern.AsLiteral().(types.String)
	return guardPattern(string(text))
}

func guardPattern(text string) error {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return fmt.Errorf("matches: %w", err)
	}
	if programSize(parsed) > maxPattern {
		return errors.New("the regular expression of matches is too large: repeat less in it, such as x{100} for x{1000}")
	}
	return nil
}

// programSize is about how many instructions a regular expression is compiled to, without doing that.
func programSize(re *syntax.Regexp) int {
	n := 1
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(1, re.Min, re.Max) // at most 1,000 for all that are in each other
	}
	return n
}

// nests says whether the expression is a list or a map of anything but texts, numbers and truths.
func nests(checked *ast.AST, e ast.Expr) bool {
	of := checked.GetType(e.ID())
	if of.Kind() != types.ListKind && of.Kind() != types.MapKind {
		return false
	}
	if e.Kind() == ast.ListKind {
		for _, element := range e.AsList().Elements() {
			if !scalar(checked.GetType(element.ID())) {
				return true
			}
		}
		return false
	}
	for _, part := range of.Parameters() {
		if !scalar(part) {
			return true
		}
	}
	return false
}

func scalar(t *types.Type) bool {
	switch t.Kind() {
	case types.BoolKind, types.BytesKind, types.DoubleKind, types.IntKind, types.NullTypeKind, types.StringKind, types.UintKind:
		return true
	}
	return false
}
