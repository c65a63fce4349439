package hook

import (
	"errors"

	"github.com/google/cel-go/interpreter"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// What evaluating match expressions and selectors may cost, in the units of CEL's cost model: about
// one for each step, and one for each ten bytes that a step reads. They count work and not time, so that
// a Hook is judged the same on a slow machine. A unit takes up to half a microsecond.
//
// An ordinary expression costs 5 to 50 units for an event, so that a Hook with fifty of them is far
// within its budget over a batch of a thousand events.
const (
	evaluationBudget = 100_000   // of one expression for one event
	hookBudget       = 500_000   // of all configurations of a Hook over one batch of events
	namespaceBudget  = 2_000_000 // of all Hooks of a namespace over one batch of events
)

// Verdict says whether a configuration is about an event.
type Verdict uint8

// The verdicts.
const (
	NoMatch Verdict = iota
	Match
	TooCostly // not known: finding out would cost more than the Hook may spend
)

// Overrun is a Hook whose expressions could not all be evaluated.
type Overrun struct {
	Hook   delivery.HookRef
	Config string // key of the first configuration that was not evaluated
	Why    string // a sentence for people, without a full stop
}

// Meter judges the events of one batch, and keeps account of what that costs each Hook: one that has
// spent its budget is not evaluated any more in this batch, and the next batch's meter begins anew. So
// what one Hook's author writes never holds up the recording of the cluster. It is for one goroutine.
type Meter struct {
	hooks      map[delivery.HookRef]uint64
	namespaces map[string]uint64
	spent      uint64
	overruns   []Overrun
	over       map[delivery.HookRef]bool

	event *celEvent // of the newest facts
	of    incident.Facts
	count int64
}

// NewMeter returns the meter of a batch.
func NewMeter() *Meter {
	return &Meter{hooks: map[delivery.HookRef]uint64{}, namespaces: map[string]uint64{}, over: map[delivery.HookRef]bool{}}
}

// Spent is what all evaluations have cost.
func (m *Meter) Spent() uint64 { return m.spent }

// Overruns are the Hooks that were over their budget, each once.
func (m *Meter) Overruns() []Overrun { return m.overruns }

// Judge says whether the configuration is about the event.
func (m *Meter) Judge(c *Config, f incident.Facts) Verdict { return m.judge(c, f).verdict }

// judgement is a verdict with what made it: Judge takes the one and Explain the other, so that what people are told is
// never judged by rules of its own.
type judgement struct {
	verdict Verdict
	by      Question // the last that was asked
	why     string   // of TooCostly, in a sentence
	failed  error    // of the match expression, which failed on the event
}

func (m *Meter) judge(c *Config, f incident.Facts) judgement {
	switch {
	case c.EventType != f.Signal.Type:
		return judgement{by: AskedType}
	case c.Hook.Namespace != f.Signal.Resource.Namespace:
		return judgement{by: AskedNamespace}
	case c.Invalid != "":
		return judgement{verdict: Match, by: AskedValid} // its user must see that it would have been asked
	case !c.Evaluates():
		return judgement{verdict: Match, by: AskedMatch}
	}
	switch {
	case m.hooks[c.Hook] >= hookBudget:
		return m.overrun(c, AskedSelector, "the match expressions of this Hook cost too much together for the events that came at once")
	case m.namespaces[c.Hook.Namespace] >= namespaceBudget:
		return m.overrun(c, AskedSelector, "the match expressions of all Hooks in the namespace cost too much together for the events that came at once")
	}
	m.charge(c, c.selectorCost)
	if !c.Selector.Matches(labels.Set(f.Signal.Attributes.PodOrZero().Labels)) {
		return judgement{by: AskedSelector}
	}
	if c.match == nil {
		return judgement{verdict: Match, by: AskedMatch}
	}
	verdict, cost, failed := c.match.evaluate(m.eventOf(f))
	m.charge(c, cost)
	if verdict == TooCostly {
		return m.overrun(c, AskedMatch, "its match expression costs too much for a single event")
	}
	return judgement{verdict: verdict, by: AskedMatch, failed: failed}
}

func (m *Meter) charge(c *Config, cost uint64) {
	m.spent += cost
	m.hooks[c.Hook] += cost
	m.namespaces[c.Hook.Namespace] += cost
}

func (m *Meter) overrun(c *Config, by Question, why string) judgement {
	if !m.over[c.Hook] {
		m.over[c.Hook] = true
		m.overruns = append(m.overruns, Overrun{c.Hook, c.Key, why})
	}
	return judgement{verdict: TooCostly, by: by, why: why}
}

// eventOf makes the variable event once for all configurations that ask about the same facts.
func (m *Meter) eventOf(f incident.Facts) *celEvent {
	var count int64
	if f.Incident != nil {
		count = f.Incident.Events
	}
	if m.event == nil || m.of != f || m.count != count {
		m.event, m.of, m.count = celEventOf(f), f, count
	}
	return m.event
}

// evaluate says whether the expression matches, and what that cost. An expression that fails on an
// event (a label that the Pod has not) does not match it; the error says how.
func (e *matchProgram) evaluate(event *celEvent) (Verdict, uint64, error) {
	out, details, err := e.program.Eval(map[string]any{"event": event})
	var canceled interpreter.EvalCancelledError
	if errors.As(err, &canceled) && canceled.Cause == interpreter.CostLimitExceeded {
		return TooCostly, evaluationBudget, nil
	}
	cost := uint64(evaluationBudget) // an evaluation that cannot say what it cost is not for free
	if actual := details.ActualCost(); actual != nil {
		cost = max(1, *actual)
	}
	if err != nil {
		return NoMatch, cost, err
	}
	if matched, ok := out.Value().(bool); ok && matched {
		return Match, cost, nil
	}
	return NoMatch, cost, nil
}

// selectorCost is what asking a selector costs: it compares the label with each value in turn.
func selectorCost(selector labels.Selector) uint64 {
	const valuesPerUnit = 16
	requirements, _ := selector.Requirements()
	var cost uint64
	for _, r := range requirements {
		cost += 1 + uint64(r.Values().Len())/valuesPerUnit
	}
	return cost
}
