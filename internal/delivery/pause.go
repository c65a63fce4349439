package delivery

import (
	"fmt"
	"time"
)

// Bounds of pauses.
const (
	MaxPauses      = 10_000              // that are kept at the same time
	MaxPauseReason = 500                 // bytes of Pause.Reason
	MaxPauseFor    = 30 * 24 * time.Hour // that a pause may be made for; one without an end has none
)

// PauseScope is whose calls a pause stops: all of them, those of a namespace's Hooks, or those of one Hook.
type PauseScope struct {
	Namespace string // "": all
	Hook      string // "": all of the namespace
}

// Covers says whether a Hook is in the scope.
func (s PauseScope) Covers(h HookRef) bool {
	return s.Namespace == "" || s.Namespace == h.Namespace && (s.Hook == "" || s.Hook == h.Name)
}

// String names the scope for people.
func (s PauseScope) String() string {
	switch {
	case s.Namespace == "":
		return "all Hooks"
	case s.Hook == "":
		return "all Hooks of namespace " + s.Namespace
	}
	return "Hook " + s.Namespace + "/" + s.Hook
}

// Pause stops the calls of Hooks because a person wants it so. It is kept in the history, beside the Hooks, so that nothing that
// applies Hooks from elsewhere ends it.
type Pause struct {
	PauseScope
	Reason string // a person's words
	By     string // the person
	At     time.Time
	Ends   time.Time // when it ends by itself; zero: not before a person ends it
	Cancel bool      // the agents that were at work were told to stop
	// Volatile says that the history could not be written: the pause holds in this process only. It is not kept.
	Volatile bool
}

// Over says whether the pause has ended by itself.
func (p *Pause) Over(now time.Time) bool { return !p.Ends.IsZero() && !now.Before(p.Ends) }

// Why says in a sentence, without a full stop, what is paused, since when and why.
func (p *Pause) Why() string {
	until := "until a person resumes them"
	if !p.Ends.IsZero() {
		until = "until " + p.Ends.UTC().Format(time.RFC3339)
	}
	why := fmt.Sprintf("calls of %s are paused by %s since %s, %s", p.PauseScope, p.By, p.At.UTC().Format(time.RFC3339), until)
	if p.Reason != "" {
		why += ": " + p.Reason
	}
	return why
}

// Pauses are those that were made, in no order.
type Pauses []Pause

// Of is the pause that stops the calls of a Hook at a time: of several the one that ends last. It is false if there is none.
func (all Pauses) Of(h HookRef, now time.Time) (found Pause, paused bool) {
	for _, p := range all {
		if !p.Covers(h) || p.Over(now) {
			continue
		}
		if !paused || !found.Ends.IsZero() && (p.Ends.IsZero() || p.Ends.After(found.Ends)) {
			found, paused = p, true
		}
	}
	return found, paused
}
