package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// maxUnknownReasons bounds what is said of one expression.
const maxUnknownReasons = 5

// reasons warns of reasons in match expressions that are not known for the event type. It is no error: which reasons there are
// is up to Kubernetes and to container runtimes.
func (v *validator) reasons(c *candidate) {
	for i, config := range c.configs {
		if !c.valid(i) {
			continue
		}
		known, warned := detect.ReasonsOf(config.EventType), 0
		for _, reason := range reasonsIn(c.hook.Spec.EventConfigurations[i].Match) {
			if len(known.Known) == 0 || slices.Contains(known.Known, reason) || warned == maxUnknownReasons {
				continue
			}
			warned++
			v.findings.addWarning(c.finding(c.path(i)+".match", unknownReason(config.EventType, known, reason)))
		}
	}
}

// unknownReason says what is wrong with a reason, and what may have been meant.
func unknownReason(t incident.EventType, known detect.Reasons, reason string) string {
	said := fmt.Sprintf("%q is not known as a reason of %s", incident.Truncate(reason, incident.MaxReason), t)
	if meant := nearest(reason, known.Known); meant != "" {
		said += fmt.Sprintf(" (is %s meant?)", meant)
	} else if of := typesWith(reason); len(of) > 0 {
		said += " (it is one of " + strings.Join(of, " and ") + ")"
	}
	said += ": known are " + strings.Join(known.Known, ", ")
	if known.Open {
		said += "; Kubernetes and container runtimes may have others"
	}
	return said
}

// typesWith are the event types that have a reason.
func typesWith(reason string) []string {
	var of []string
	for _, t := range incident.EventTypes() {
		if slices.Contains(detect.ReasonsOf(t).Known, reason) {
			of = append(of, string(t))
		}
	}
	return of
}

// reasonsIn are the constant texts that an expression compares event.reason with, each once.
func reasonsIn(match string) []string {
	env, err := hook.CELEnv()
	if err != nil || !strings.Contains(match, "reason") {
		return nil
	}
	parsed, issues := env.Parse(match) // that it compiles is known: it is a valid configuration's
	if issues.Err() != nil {
		return nil
	}
	var found []string
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch args := call.Args(); call.FunctionName() {
		case operators.Equals, operators.NotEquals:
			found = append(found, comparedWith(args[0], args[1])...)
			found = append(found, comparedWith(args[1], args[0])...)
		case operators.In:
			found = append(found, comparedWith(args[0], args[1])...)
		}
	}))
	slices.Sort(found)
	return slices.Compact(found)
}

// comparedWith are the constant texts of an expression, or of a list, that the reason is compared with.
func comparedWith(subject, with ast.Expr) []string {
	if text, ok := written(subject); !ok || text != "event.reason" {
		return nil
	}
	values := []ast.Expr{with}
	if with.Kind() == ast.ListKind {
		values = with.AsList().Elements()
	}
	var texts []string
	for _, e := range values {
		if e.Kind() != ast.LiteralKind {
			continue
		}
		if s, ok := e.AsLiteral().(types.String); ok {
			texts = append(texts, string(s))
		}
	}
	return texts
}

// nearest is the word that differs least from a text, if that is little; "" if there is none.
func nearest(text string, words []string) string {
	text = strings.ToLower(incident.Truncate(text, incident.MaxReason))
	best, least := "", 0
	for _, w := range words {
		if d := distance(text, strings.ToLower(w)); d <= len(w)/3 && (best == "" || d < least) {
			best, least = w, d
		}
	}
	return best
}

// distance is how many bytes have to be put in, taken out or changed to make one text of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
