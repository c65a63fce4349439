package ledger

import (
	"context"
	"fmt"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// match is a configuration that is about an event, or may be.
type match struct {
	*hook.Config
	tooCostly bool // not known: its Hook has spent its budget
}

// subject is what the configurations are asked about, as far as their answer can differ.
type subject struct {
	signal   *incident.Signal // of the batch; nil for an incident as it is
	incident string
	events   int64 // of the incident so far
}

// matcher asks the Hooks of a batch, each once about each subject and within its budget. It sees them as they are when
// it first asks those of a namespace: an edit in the middle of a batch counts for the next one.
type matcher struct {
	hooks   *hook.Set
	meter   *hook.Meter
	configs map[string][]*hook.Config // by namespace
	found   map[subject][]match
}

func newMatcher(hooks *hook.Set) *matcher {
	return &matcher{hooks: hooks, meter: hook.NewMeter(), configs: map[string][]*hook.Config{}, found: map[subject][]match{}}
}

// in returns the configurations of a namespace's Hooks, in a stable order.
func (m *matcher) in(namespace string) []*hook.Config {
	configs, asked := m.configs[namespace]
	if !asked {
		configs = m.hooks.In(namespace)
		m.configs[namespace] = configs
	}
	return configs
}

// of returns the configurations of a Hook, in the order of its list.
func (m *matcher) of(ref delivery.HookRef) []*hook.Config {
	var configs []*hook.Config
	for _, c := range m.in(ref.Namespace) {
		if c.Hook == ref {
			configs = append(configs, c)
		}
	}
	return configs
}

// config returns a configuration of a Hook by its key, or nil.
func (m *matcher) config(ref delivery.HookRef, key string) *hook.Config {
	for _, c := range m.in(ref.Namespace) {
		if c.Hook == ref && c.Key == key {
			return c
		}
	}
	return nil
}

// matching returns the configurations that are about the subject, in a stable order.
func (m *matcher) matching(of subject, f incident.Facts) []match {
	if found, asked := m.found[of]; asked {
		return found
	}
	var found []match
	told := map[delivery.HookRef]bool{}
	for _, c := range m.in(f.Signal.Resource.Namespace) {
		switch m.meter.Judge(c, f) {
		case hook.Match:
			found = append(found, match{Config: c})
		case hook.TooCostly: // told once for each Hook: fifty rows an event would be an attack of their own
			if !told[c.Hook] {
				told[c.Hook] = true
				found = append(found, match{Config: c, tooCostly: true})
			}
		case hook.NoMatch:
		}
	}
	m.found[of] = found
	return found
}

// evaluates says whether a Hook of the namespace has anything to evaluate.
func (m *matcher) evaluates(namespace string) bool {
	for _, c := range m.in(namespace) {
		if c.Evaluates() {
			return true
		}
	}
	return false
}

// matchingOf returns the configurations that are about an incident as it is.
func (b *batch) matchingOf(inc *incident.Incident) []match {
	return b.matcher.matching(subject{incident: inc.ID, events: inc.Events}, b.factsOf(inc))
}

func (b *batch) factsOf(inc *incident.Incident) incident.Facts {
	return b.facts(inc.LastSignal(), inc)
}

// facts are what the Hooks are asked about, and what their prompts tell.
func (b *batch) facts(s *incident.Signal, inc *incident.Incident) incident.Facts {
	f := incident.Facts{Cluster: b.from.Cluster, Signal: s, Incident: inc}
	if base := b.cfg.PageURL; base != "" {
		f.URL = base + "/incidents/" + inc.ID
	}
	return f
}

// foresee evaluates what the transaction will ask, before it begins: it goes the way of the signals on
// copies, as the transaction will, and the matcher remembers the answers. Evaluating takes up to
// seconds where Hooks are hostile; within the transaction nobody else could write meanwhile.
//
// What it gets wrong, because the transaction finds something else in the history, is asked again
// there, within the same budget: it is about speed, and never about what is recorded.
func (l *Ledger) foresee(ctx context.Context, m *matcher, signals []incident.Signal) error {
	var asked []*incident.Signal
	var keys []string
	for i := range signals {
		s := &signals[i]
		if !m.evaluates(s.Resource.Namespace) {
			continue
		}
		asked = append(asked, s)
		if s.Kind == incident.Observed {
			keys = append(keys, s.Key)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	b := newBatch(l, nil, m)
	var err error
	if b.known, err = l.store.KnownKeys(ctx, keys); err != nil {
		return fmt.Errorf("look up what is recorded already: %w", err)
	}
	for _, s := range asked {
		b.foresee(s)
	}
	return nil
}

func (b *batch) foresee(s *incident.Signal) {
	inc := b.follow(s)
	if inc == nil {
		return
	}
	of, f := b.askAbout(s, inc)
	for _, c := range b.matcher.matching(of, f) {
		if c.tooCostly || c.Invalid != "" || c.Suspended || !c.OnePerCause {
			continue
		}
		if other, _ := b.explanation(c.Config, f); other == nil {
			b.effects(c.Config, inc)
		}
	}
}
