package hook

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// CEL charges for a call after it was made. That bounds what follows, but not the one call that makes a
// gigabyte of two texts, as replace and join can, or that goes through a text with a pattern of a million
// steps, which CEL counts as its twenty characters. So these functions look at what they would cost first.
const (
	maxCELText = 64 << 10 // bytes of a text that replace, join or split take or make
	maxPattern = 2_000    // steps of a compiled pattern of matches: x{1000} has a thousand

	compileStep = 1 // units that compiling a step of a pattern costs
	refuseByte  = 8 // units that refusing a pattern costs for each of its bytes: each may stand for thousands of characters
)

// boundedFunctions redefine what CEL and its library of strings have, with the same meaning.
func boundedFunctions() []cel.EnvOption {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	return []cel.EnvOption{
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{text, text, text}, text, cel.FunctionBinding(replaceBounded)),
			cel.MemberOverload("string_replace_string_string_int", []*cel.Type{text, text, text, cel.IntType}, text, cel.FunctionBinding(replaceBounded))),
		cel.Function("split",
			cel.MemberOverload("string_split_string", []*cel.Type{text, text}, list, cel.FunctionBinding(splitBounded)),
			cel.MemberOverload("string_split_string_int", []*cel.Type{text, text, cel.IntType}, list, cel.FunctionBinding(splitBounded))),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{list}, text, cel.FunctionBinding(joinBounded)),
			cel.MemberOverload("list_join_string", []*cel.Type{list, text}, text, cel.FunctionBinding(joinBounded))),
		cel.Function("matches",
			cel.Overload("matches", []*cel.Type{text, text}, cel.BoolType),
			cel.MemberOverload("matches_string", []*cel.Type{text, text}, cel.BoolType),
			cel.SingletonBinaryBinding(matchesBounded)),
	}
}

// patternCosts charge for matches by the steps of the pattern rather than by its characters.
func patternCosts() cel.ProgramOption {
	return cel.CostTrackerOptions(interpreter.OverloadCostTracker("matches", patternCost), interpreter.OverloadCostTracker("matches_string", patternCost))
}

// patternCost is a unit for a hundred steps, each of which may look at each byte of the text. Compiling the pattern costs
// compileStep for each step, whenever it is done: patterns that do not fit into the cache together are compiled
// for each event.
func patternCost(args []ref.Val, _ ref.Val) *uint64 {
	text, pattern := textOf(args[0]), textOf(args[1])
	cost := 1 + uint64(len(pattern))/10
	if p, err := patterns.of(pattern); err == nil {
		cost += uint64(len(text)+1) * uint64(p.steps) / 100
		if p.fresh.Swap(false) {
			cost += compileStep * uint64(p.steps)
		}
	} else { // it is not kept, and looked at again the next time
		cost += refuseByte * uint64(len(pattern))
	}
	return &cost
}

func textOf(v ref.Val) string {
	s, _ := v.Value().(string)
	return s
}

// optionalCount is the number that an optional last argument has; -1 if it is missing.
func optionalCount(args []ref.Val, at int) int {
	if len(args) <= at {
		return -1
	}
	n, _ := args[at].Value().(int64)
	return int(max(-1, min(n, maxCELText+1)))
}

func tooLong(function string) ref.Val {
	return types.NewErr("%s would take or make a text of more than %d bytes", function, maxCELText)
}

func replaceBounded(args ...ref.Val) ref.Val {
	text, old, with, n := textOf(args[0]), textOf(args[1]), textOf(args[2]), optionalCount(args, 3)
	if len(text) > maxCELText {
		return tooLong("replace")
	}
	times := strings.Count(text, old)
	if n >= 0 {
		times = min(times, n)
	}
	if len(text)+times*len(with) > maxCELText {
		return tooLong("replace")
	}
	return types.String(strings.Replace(text, old, with, n))
}

func splitBounded(args ...ref.Val) ref.Val {
	text := textOf(args[0])
	if len(text) > maxCELText {
		return tooLong("split")
	}
	return types.NewStringList(types.DefaultTypeAdapter, strings.SplitN(text, textOf(args[1]), optionalCount(args, 2)))
}

func joinBounded(args ...ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(args[0])
	}
	separator := ""
	if len(args) > 1 {
		separator = textOf(args[1])
	}
	var joined strings.Builder
	for i, first := list.Iterator(), true; i.HasNext() == types.True; first = false {
		if !first {
			joined.WriteString(separator)
		}
		part, ok := i.Next().(types.String)
		if !ok {
			return types.NewErr("join takes a list of texts")
		}
		if joined.Len()+len(part)+len(separator) > maxCELText {
			return tooLong("join")
		}
		joined.WriteString(string(part))
	}
	return types.String(joined.String())
}

func matchesBounded(text, pattern ref.Val) ref.Val {
	p, err := patterns.of(textOf(pattern))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(p.MatchString(textOf(text)))
}

// compiledPattern is a compiled pattern of matches.
type compiledPattern struct {
	*regexp.Regexp
	steps int          // that each byte of a text may cost
	fresh *atomic.Bool // that it was compiled is not charged for yet
}

// patternCache keeps compiled patterns: an expression has few, and is evaluated for each event.
type patternCache struct {
	mu    sync.Mutex
	known map[string]compiledPattern
	steps int // of all of them
}

var patterns patternCache

// maxKeptSteps bounds the patterns that are kept, by their steps: one takes up to about a hundred bytes.
const maxKeptSteps = 20_000

func (c *patternCache) of(text string) (compiledPattern, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.known[text]; ok {
		return p, nil
	}
	p, err := compilePattern(text)
	if err != nil {
		return compiledPattern{}, err
	}
	p.fresh = new(atomic.Bool)
	p.fresh.Store(true)
	if c.known == nil || c.steps+p.steps > maxKeptSteps {
		c.known, c.steps = map[string]compiledPattern{}, 0 // patterns made of events: begin anew
	}
	c.known[text] = p
	c.steps += p.steps
	return p, nil
}

// compilePattern refuses a pattern that is too large before it is compiled, which would take the
// memory already.
func compilePattern(text string) (compiledPattern, error) {
	if len(text) > 4*maxPattern {
		return compiledPattern{}, fmt.Errorf("the pattern has %d bytes: at most %d", len(text), 4*maxPattern)
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return compiledPattern{}, err
	}
	steps := stepsOf(parsed)
	if steps > maxPattern {
		return compiledPattern{}, fmt.Errorf("the pattern takes more than %d steps: repeat less, such as + rather than {1,500}", maxPattern)
	}
	compiled, err := regexp.Compile(text)
	return compiledPattern{Regexp: compiled, steps: steps}, err
}

// runesPerStep is how many bounds of a class of characters take as much memory as a step: \pC has two thousand of
// them, in three characters.
const runesPerStep = 16

// stepsOf is how many steps the pattern is compiled to, about; at most a little over maxPattern.
func stepsOf(re *syntax.Regexp) int {
	steps := 1
	switch re.Op {
	case syntax.OpLiteral:
		steps = len(re.Rune)
	case syntax.OpCapture:
		steps = 2
	case syntax.OpCharClass:
		steps += len(re.Rune) / runesPerStep
	}
	for _, sub := range re.Sub {
		if steps += stepsOf(sub); steps > maxPattern {
			return maxPattern + 1
		}
	}
	if re.Op == syntax.OpRepeat {
		steps *= max(1, re.Min, re.Max)
	}
	return min(steps, maxPattern+1)
}
