package hook

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Bounds of what a match expression may need.
const (
	// costOfByte is what a byte costs of a text that a function makes, of evaluationBudget, where CEL's library
	// has no cost of its own for that. It counts a call of format by its format only: a chain of
	// eighteen takes all memory.
	costOfByte = 4
	maxLoops   = 20 // macros such as exists
	maxMaps    = 4  // written in the expression
)

// madeText is an interpreter.ActualCostEstimator that counts the texts that functions make.
type madeText struct{}

// CallCost is what a call costs; nil leaves it to CEL.
func (madeText) CallCost(_, _ string, args []ref.Val, result ref.Val) *uint64 {
	var size int
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
	written := args[len(args)-1]
	if written.Kind() != ast.LiteralKind {
		return nil // it is made of the event: looked at before each use
	}
	text, _ := written.AsLiteral().(types.String)
	if _, err := compilePattern(string(text)); err != nil {
		return fmt.Errorf("matches: %w", err)
	}
	return nil
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
