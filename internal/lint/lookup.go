package lint

import (
	"context"
	"errors"
	"fmt"

	"github.com/kagent-dev/khook/internal/delivery"
)

// ErrUnknown is wrapped by the errors of a Lookup that could not find out, because what it asks
// does not answer. They are warnings.
var ErrUnknown = errors.New("could not be found out")

// Lookup is what only a cluster can tell.
type Lookup interface {
	// May returns why the caller may not know what is in the namespace; nil if it may. It is asked before
	// anything else is: the other answers are for those only who may have them.
	May(ctx context.Context, namespace string) error
	// Namespace returns why Hooks can't be in the namespace; nil if they can.
	Namespace(ctx context.Context, name string) error
	// Agent returns why the agent can't be called; nil if it was found.
	Agent(ctx context.Context, a delivery.AgentRef) error
}

// maxLookups bounds how often one text makes the cluster be asked.
const maxLookups = 200

// lookupCache asks a Lookup each question once.
type lookupCache struct {
	lookup     Lookup
	rights     map[string]error
	namespaces map[string]error
	agents     map[delivery.AgentRef]error
}

func newLookupCache(l Lookup) *lookupCache {
	return &lookupCache{l, map[string]error{}, map[string]error{}, map[delivery.AgentRef]error{}}
}

var errLookups = fmt.Errorf("%w: the text names too many namespaces and agents, check it in parts", ErrUnknown)

// lookupOnce answers a question from what is known, or asks.
func lookupOnce[Q comparable](ctx context.Context, q *lookupCache, known map[Q]error, question Q, lookup func(context.Context, Q) error) error {
	if err, asked := known[question]; asked {
		return err
	}
	if len(q.rights)+len(q.namespaces)+len(q.agents) >= maxLookups {
		return errLookups
	}
	known[question] = lookup(ctx, question)
	return known[question]
}

// lookUp asks the cluster about the Hook's namespace and its agents.
func (v *validator) lookUp(ctx context.Context, c *candidate) {
	if v.lookups.lookup == nil || c.hasMistake("metadata.namespace") {
		return
	}
	// Rights first. Of whom it is not known that they may be there, they are told neither whether the
	// namespace exists nor which agents do.
	if err := lookupOnce(ctx, v.lookups, v.lookups.rights, c.hook.Namespace, v.lookups.lookup.May); err != nil {
		v.answer(c, "metadata.namespace", err)
		return
	}
	err := lookupOnce(ctx, v.lookups, v.lookups.namespaces, c.hook.Namespace, v.lookups.lookup.Namespace)
	v.answer(c, "metadata.namespace", err)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return
	}
	for i, config := range c.configs {
		if c.agentMistaken(i) || !v.opt.Policy.Allows(c.hook.Namespace, config.Agent) {
			continue
		}
		field := c.path(i) + ".agentId"
		if c.hook.Spec.EventConfigurations[i].AgentRef != nil {
			field = c.path(i) + ".agentRef"
		}
		v.answer(c, field, lookupOnce(ctx, v.lookups, v.lookups.agents, config.Agent, v.lookups.lookup.Agent))
	}
}

func (v *validator) answer(c *candidate, field string, err error) {
	switch {
	case errors.Is(err, ErrUnknown):
		v.findings.addWarning(c.finding(field, err.Error()))
	case err != nil:
		c.mistakes = append(c.mistakes, mistake{field, err.Error()})
	}
}

// hasMistake says whether a mistake was found in a field.
func (c *candidate) hasMistake(field string) bool {
	for _, m := range c.mistakes {
		if m.field == field {
			return true
		}
	}
	return false
}
