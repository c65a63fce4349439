package lint

import (
	"math"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/kagent-dev/khook/internal/hook"
)

// constraints are what an expression asks of an event at least: it is false if one of them is broken.
// They show that two expressions can't be true of one event; where they do not, both may be.
type constraints struct {
	numbers    map[string]interval
	stringSets map[string]stringSet
	terms      map[string]bool // other parts of the expression, and what they must be
}

type interval struct {
	low, high int64
	not       []int64
}

// stringSet are those that a value may have; nil: any.
type stringSet struct{ oneOf, noneOf []string }

// constraintsOf reads the bounds off a match expression that compiles.
func constraintsOf(match string) constraints {
	b := constraints{map[string]interval{}, map[string]stringSet{}, map[string]bool{}}
	env, err := hook.CELEnv()
	if err != nil || strings.TrimSpace(match) == "" {
		return b
	}
	parsed, issues := env.Compile(match)
	if issues.Err() == nil {
		b.read(parsed.NativeRep().Expr(), true)
	}
	return b
}

// read takes up an expression that must be true, or false.
func (b *constraints) read(e ast.Expr, must bool) {
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch name := call.FunctionName(); {
		case name == operators.LogicalNot:
			b.read(call.Args()[0], !must)
			return
		case name == operators.LogicalAnd && must || name == operators.LogicalOr && !must:
			b.read(call.Args()[0], must)
			b.read(call.Args()[1], must)
			return
		case len(call.Args()) == 2 && b.compare(name, call.Args()[0], call.Args()[1], must):
			return
		}
	}
	if text, ok := written(e); ok {
		b.terms[text] = must
	}
}

// written is the text of an expression, in one form.
func written(e ast.Expr) (string, bool) {
	text, err := cel.ExprToString(e, ast.NewSourceInfo(nil))
	return text, err == nil
}

var (
	// opposite is what holds if the comparison does not.
	opposite = map[string]string{
		operators.Less: operators.GreaterEquals, operators.GreaterEquals: operators.Less,
		operators.Greater: operators.LessEquals, operators.LessEquals: operators.Greater,
		operators.Equals: operators.NotEquals, operators.NotEquals: operators.Equals,
	}
	// mirrored is the comparison with its sides changed.
	mirrored = map[string]string{
		operators.Less: operators.Greater, operators.GreaterEquals: operators.LessEquals,
		operators.Greater: operators.Less, operators.LessEquals: operators.GreaterEquals,
		operators.Equals: operators.Equals, operators.NotEquals: operators.NotEquals,
	}
)

// compare takes up the comparison of a value with a constant, if it is one.
func (b *constraints) compare(operator string, left, right ast.Expr, must bool) bool {
	if left.Kind() == ast.LiteralKind {
		left, right, operator = right, left, mirrored[operator]
	}
	subject, ok := written(left)
	if !ok {
		return false
	}
	if operator == operators.In {
		return b.in(subject, right, must)
	}
	if !must {
		operator = opposite[operator]
	}
	if operator == "" || right.Kind() != ast.LiteralKind {
		return false
	}
	switch constant := right.AsLiteral().(type) {
	case types.Int:
		return b.number(subject, operator, int64(constant))
	case types.String:
		return b.text(subject, operator, string(constant))
	}
	return false
}

func (b *constraints) number(subject, operator string, n int64) bool {
	i, known := b.numbers[subject]
	if !known {
		i = interval{low: math.MinInt64, high: math.MaxInt64}
	}
	switch operator {
	case operators.Equals:
		i.low, i.high = max(i.low, n), min(i.high, n)
	case operators.NotEquals:
		i.not = append(i.not, n)
	case operators.GreaterEquals:
		i.low = max(i.low, n)
	case operators.LessEquals:
		i.high = min(i.high, n)
	case operators.Greater:
		i.low, i.not = max(i.low, n), append(i.not, n)
	case operators.Less:
		i.high, i.not = min(i.high, n), append(i.not, n)
	default:
		return false
	}
	b.numbers[subject] = i
	return true
}

func (b *constraints) text(subject, operator, text string) bool {
	switch operator {
	case operators.Equals:
		b.allow(subject, []string{text})
	case operators.NotEquals:
		t := b.stringSets[subject]
		t.noneOf = append(t.noneOf, text)
		b.stringSets[subject] = t
	default:
		return false
	}
	return true
}

// in takes up a value that is one of a list of constant texts.
func (b *constraints) in(subject string, list ast.Expr, must bool) bool {
	if list.Kind() != ast.ListKind {
		return false
	}
	var values []string
	for _, e := range list.AsList().Elements() {
		if e.Kind() != ast.LiteralKind {
			return false
		}
		s, ok := e.AsLiteral().(types.String)
		if !ok {
			return false
		}
		values = append(values, string(s))
	}
	if must {
		b.allow(subject, values)
		return true
	}
	t := b.stringSets[subject]
	t.noneOf = append(t.noneOf, values...)
	b.stringSets[subject] = t
	return true
}

func (b *constraints) allow(subject string, values []string) {
	t := b.stringSets[subject]
	t.oneOf = intersection(t.oneOf, values)
	b.stringSets[subject] = t
}

// intersection is what is in both lists, where nil is everything. It is not nil.
func intersection(a, b []string) []string {
	if a == nil {
		a, b = b, a
	}
	both := []string{}
	for _, s := range a {
		if b == nil || slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// excludes says whether an event that fits one can't fit the other.
func (b constraints) excludes(other constraints) bool {
	for subject, i := range b.numbers {
		if j, ok := other.numbers[subject]; ok && i.excludes(j) {
			return true
		}
	}
	for subject, t := range b.stringSets {
		if u, ok := other.stringSets[subject]; ok && t.excludes(u) {
			return true
		}
	}
	for term, must := range b.terms {
		if needed, ok := other.terms[term]; ok && needed != must {
			return true
		}
	}
	return false
}

func (i interval) excludes(other interval) bool {
	low, high := max(i.low, other.low), min(i.high, other.high)
	for low <= high && (slices.Contains(i.not, low) || slices.Contains(other.not, low)) {
		if low == high {
			return true
		}
		low++
	}
	return low > high
}

func (t stringSet) excludes(other stringSet) bool {
	if t.oneOf == nil && other.oneOf == nil {
		return false
	}
	for _, s := range intersection(t.oneOf, other.oneOf) {
		if !slices.Contains(t.noneOf, s) && !slices.Contains(other.noneOf, s) {
			return false
		}
	}
	return true
}
