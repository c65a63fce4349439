package lint

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// Bounds of the comparison. What is beyond them may overlap.
const (
	maxCompared     = 20_000 // pairs of configurations
	maxRequirements = 50     // of a selector
	maxLabelValues  = 1_000  // of a requirement
)

// scope is what a valid configuration is about.
type scope struct {
	of     *candidate
	index  int // of the configuration
	config *hook.Config
	match  constraints
}

// topic is what two configurations must have in common to be called for one event.
type topic struct {
	namespace string
	eventType incident.EventType
}

// overlaps warns where one event calls twice: two configurations of one Hook, or two Hooks that
// call the same agent.
func (v *validator) overlaps(ctx context.Context) {
	var topics []topic
	scopes := map[topic][]scope{}
	for _, c := range v.checked {
		for i, config := range c.configs {
			if !c.valid(i) || config.Suspended {
				continue
			}
			t := topic{c.hook.Namespace, config.EventType}
			if scopes[t] == nil {
				topics = append(topics, t)
			}
			scopes[t] = append(scopes[t], scope{c, i, config, constraintsOf(c.hook.Spec.EventConfigurations[i].Match)})
		}
	}
	compared := 0
	for _, t := range topics {
		for j, later := range scopes[t] {
			for _, earlier := range scopes[t][:j] {
				if compared++; compared > maxCompared || ctx.Err() != nil {
					return
				}
				v.overlap(earlier, later)
			}
		}
	}
}

func (v *validator) overlap(earlier, later scope) {
	sameAgent := earlier.config.Agent == later.config.Agent
	if earlier.of != later.of && !sameAgent || disjoint(earlier.config.Selector, later.config.Selector) || earlier.match.excludes(later.match) {
		return
	}
	other := earlier.of.path(earlier.index)
	if earlier.of != later.of {
		other += " of Hook " + earlier.of.ref
	}
	at, _ := earlier.of.Position.At(earlier.of.path(earlier.index))
	other = fmt.Sprintf("%s (line %d)", other, at.Line)
	message := fmt.Sprintf("one %s event can be about this and about %s: both agents, %s and %s, are called; if one call is meant, restrict one with selector or match",
		later.config.EventType, other, later.config.Agent, earlier.config.Agent)
	if sameAgent {
		message = fmt.Sprintf("one %s event can be about this and about %s: agent %s is called twice for it; remove one, or restrict it with selector or match",
			later.config.EventType, other, later.config.Agent)
	}
	v.findings.addWarning(later.of.finding(later.of.path(later.index), message))
}

// disjoint says whether no Pod's labels fit both selectors.
func disjoint(a, b labels.Selector) bool {
	as, possible := a.Requirements()
	bs, too := b.Requirements()
	if !possible || !too {
		return true
	}
	for _, x := range as[:min(len(as), maxRequirements)] {
		for _, y := range bs[:min(len(bs), maxRequirements)] {
			if x.Key() == y.Key() && (contradicts(x, y) || contradicts(y, x)) {
				return true
			}
		}
	}
	return false
}

// contradicts says whether a label can't fulfil both requirements on it, as seen from x.
func contradicts(x, y labels.Requirement) bool {
	oneOf := func(r labels.Requirement) bool {
		return slices.Contains([]selection.Operator{selection.In, selection.Equals, selection.DoubleEquals}, r.Operator())
	}
	switch {
	case y.Operator() == selection.DoesNotExist:
		return oneOf(x) || x.Operator() == selection.Exists
	case x.Values().Len()+y.Values().Len() > maxLabelValues:
		return false
	case oneOf(x) && oneOf(y):
		return x.Values().Intersection(y.Values()).Len() == 0
	case oneOf(x) && (y.Operator() == selection.NotIn || y.Operator() == selection.NotEquals):
		return y.Values().IsSuperset(x.Values())
	}
	return false
}
