package lint

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// never warns of configurations that can be about no event: their users wait for calls that can't come.
func (v *validator) never(c *candidate) {
	for i, config := range c.configs {
		if !c.valid(i) {
			continue
		}
		if key, no := unfulfillable(config.Selector); no {
			v.findings.addWarning(c.finding(c.path(i)+".selector", fmt.Sprintf("no Pod can fit this: what it asks of the label %s contradicts itself", key)))
		}
		asked := constraintsOf(c.hook.Spec.EventConfigurations[i].Match)
		is := func(field, value string) bool {
			return !asked.stringSets[field].excludes(stringSet{oneOf: []string{value}})
		}
		var why string
		switch {
		case !is("event.type", string(config.EventType)):
			why = fmt.Sprintf("event.type is always %q here, as eventType says", config.EventType)
		case !is("event.namespace", c.hook.Namespace):
			why = fmt.Sprintf("event.namespace is always %q here, since a Hook watches its own namespace only", c.hook.Namespace)
		case asked.excludes(asked):
			why = "what it asks contradicts itself"
		default:
			continue
		}
		v.findings.addWarning(c.finding(c.path(i)+".match", "this can never be true, so that the agent is never called: "+why))
	}
}

// unfulfillable says whether no labels fit a selector, and the label that it is about.
func unfulfillable(selector labels.Selector) (key string, never bool) {
	byKey := map[string]labels.Requirements{}
	requirements, _ := selector.Requirements()
	for _, r := range requirements[:min(len(requirements), maxRequirements)] {
		byKey[r.Key()] = append(byKey[r.Key()], r)
	}
	for _, r := range requirements {
		if asked := byKey[r.Key()]; len(asked) > 1 && !fulfillable(asked) {
			return r.Key(), true
		}
	}
	return "", false
}

// fulfillable says whether a label can fulfil all requirements on it: by being absent, by one of the values that they name,
// or by one that none of them names. What is too much to try may be fulfilled.
func fulfillable(asked labels.Requirements) bool {
	key, other := asked[0].Key(), ""
	tries := []labels.Set{{}}
	for _, r := range asked {
		if len(tries)+r.Values().Len() > maxLabelValues {
			return true
		}
		for value := range r.Values() {
			tries = append(tries, labels.Set{key: value})
			other += value + "x" // longer than each of them
		}
		if r.Operator() == selection.GreaterThan || r.Operator() == selection.LessThan {
			return true
		}
	}
	tries = append(tries, labels.Set{key: other + "x"})
	return slices.ContainsFunc(tries, func(set labels.Set) bool {
		return !slices.ContainsFunc(asked, func(r labels.Requirement) bool { return !r.Matches(set) })
	})
}
