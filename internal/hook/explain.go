package hook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kagent-dev/khook/internal/incident"
)

// Question is one of those that say whether a configuration is about an event.
type Question string

// The questions, in the order in which they are asked.
const (
	AskedType      Question = "type"
	AskedNamespace Question = "namespace"
	AskedValid     Question = "valid"
	AskedSelector  Question = "selector"
	AskedMatch     Question = "match"
)

// Check is the answer to a question.
type Check struct {
	Question Question
	OK       bool
	Text     string // a sentence for people, without a full stop; it may quote the cluster
}

// Bounds of what is said of an expression and its values.
const (
	maxShownMatch  = 300 // bytes of the expression
	maxShownValue  = 80  // bytes of a value
	maxShownValues = 8
)

// Explain says what Judge says, and why: the answers up to the first no. It costs what Judge costs.
func (m *Meter) Explain(c *Config, f incident.Facts) (Verdict, []Check) {
	j := m.judge(c, f)
	var checks []Check
	for _, q := range []Question{AskedType, AskedNamespace, AskedValid, AskedSelector, AskedMatch} {
		ok := q != j.by || j.verdict == Match && q != AskedValid // what is invalid matches, so that it is told
		checks = append(checks, Check{Question: q, OK: ok, Text: m.answer(c, f, q, ok, j)})
		if q == j.by {
			break
		}
	}
	return j.verdict, checks
}

func (m *Meter) answer(c *Config, f incident.Facts, q Question, ok bool, j judgement) string {
	switch {
	case !ok && j.verdict == TooCostly:
		return j.why
	case q == AskedType && ok:
		return "the configuration is about " + string(c.EventType)
	case q == AskedType:
		return fmt.Sprintf("the configuration is about %s, and this is %s", c.EventType, f.Signal.Type)
	case q == AskedNamespace && ok:
		return "the Hook is in the Pod's namespace, " + c.Hook.Namespace
	case q == AskedNamespace:
		return fmt.Sprintf("a Hook watches its own namespace, which is %s, and the Pod is in %s", c.Hook.Namespace, f.Signal.Resource.Namespace)
	case q == AskedValid && ok:
		return "the configuration can be used"
	case q == AskedValid:
		return "the configuration can't be used: " + incident.Clean(c.Invalid, incident.MaxMessage)
	case q == AskedSelector:
		return selected(c.Selector, f.Signal.Attributes.PodOrZero().Labels)
	case c.match == nil:
		return "there is no match expression"
	}
	return c.match.told(m.eventOf(f), ok, j.failed)
}

// selected says how a Pod's labels fit a selector, or which of them does not.
func selected(selector labels.Selector, of map[string]string) string {
	requirements, _ := selector.Requirements()
	if len(requirements) == 0 {
		return "all Pods are meant, there is no selector"
	}
	for i := range requirements {
		r := &requirements[i]
		if r.Matches(labels.Set(of)) {
			continue
		}
		has := "the Pod has none"
		if value, there := of[r.Key()]; there {
			has = fmt.Sprintf("the Pod has %s=%s", r.Key(), value)
		}
		return fmt.Sprintf("%s, %s", incident.Clean(r.String(), maxShownMatch), incident.Clean(has, maxShownMatch))
	}
	return "the Pod's labels fit " + incident.Clean(selector.String(), maxShownMatch)
}

// told is the expression with the values that it goes by.
func (e *matchProgram) told(event *celEvent, matched bool, failed error) string {
	text := incident.Clean(e.text, maxShownMatch)
	switch {
	case failed != nil:
		text += " fails on it, which is no match (" + firstLine(failed.Error()) + ")"
	case matched:
		text += " is true"
	default:
		text += " is false"
	}
	if values := e.values(event); len(values) > 0 {
		text += ": " + strings.Join(values, ", ")
	}
	return text
}

// values are those of an event that the expression reads, such as "event.count is 3", each once.
func (e *matchProgram) values(event *celEvent) []string {
	environment, err := CELEnv()
	if err != nil {
		return nil
	}
	parsed, issues := environment.Parse(e.text)
	if issues.Err() != nil {
		return nil
	}
	var found []string
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(part ast.Expr) {
		value := valueOf(part, event)
		if value != "" && len(found) < maxShownValues && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}))
	return found
}

// valueOf says what a part of an expression stands for, if it is a field or a label of the event.
func valueOf(part ast.Expr, event *celEvent) string {
	switch part.Kind() {
	case ast.SelectKind:
		if field, ok := fieldOf(part); ok {
			return fieldValue(field, event)
		}
		if field, ok := fieldOf(part.AsSelect().Operand()); ok && field == "labels" {
			return labelValue(part.AsSelect().FieldName(), event)
		}
	case ast.CallKind:
		call := part.AsCall()
		if len(call.Args()) != 2 {
			return ""
		}
		list, key := call.Args()[0], call.Args()[1]
		if call.FunctionName() == operators.In {
			list, key = key, list
		} else if call.FunctionName() != operators.Index {
			return ""
		}
		if field, ok := fieldOf(list); ok && field == "labels" && key.Kind() == ast.LiteralKind {
			if name, ok := key.AsLiteral().(types.String); ok {
				return labelValue(string(name), event)
			}
		}
	}
	return ""
}

// fieldOf is the field of the variable event that an expression is.
func fieldOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind || e.AsSelect().Operand().AsIdent() != "event" {
		return "", false
	}
	return e.AsSelect().FieldName(), true
}

func labelValue(name string, event *celEvent) string {
	value, there := event.Labels[name]
	if !there {
		return "the Pod has no label " + incident.Clean(name, maxShownValue)
	}
	return fmt.Sprintf("the label %s is %s", incident.Clean(name, maxShownValue), quoted(value))
}

// fieldValue says what a field is; "" of one that is not told in one piece, as the labels are not.
func fieldValue(field string, event *celEvent) string {
	texts := map[string]string{
		"type": event.Type, "reason": event.Reason, "message": event.Message, "namespace": event.Namespace, "name": event.Name,
		"container": event.Container, "node": event.Node, "workloadKind": event.WorkloadKind, "workloadName": event.WorkloadName,
	}
	numbers := map[string]int64{"restartCount": event.RestartCount, "exitCode": event.ExitCode, "count": event.Count}
	if text, ok := texts[field]; ok {
		return "event." + field + " is " + quoted(text)
	}
	if number, ok := numbers[field]; ok {
		return fmt.Sprintf("event.%s is %d", field, number)
	}
	return ""
}

func quoted(value string) string { return `"` + incident.Clean(value, maxShownValue) + `"` }
