package api

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Pause stops the calls of Hooks because a person wants it so.
type Pause struct {
	Namespace string    `json:"namespace,omitempty" doc:"Whose Hooks; absent: all Hooks of all namespaces."`
	Hook      string    `json:"hook,omitempty" doc:"This Hook of the namespace; absent: all of it."`
	Reason    string    `json:"reason" doc:"A person's words."`
	By        string    `json:"by" doc:"The person."`
	At        time.Time `json:"at"`
	Ends      time.Time `json:"ends,omitzero" required:"false" doc:"When it ends by itself; absent: not before a person ends it."`
	Cancel    bool      `json:"cancel,omitempty" doc:"The agents that were at work were told to stop."`
	Volatile  bool      `json:"volatile,omitempty" doc:"The history could not be written: the pause holds until khook is started again or another replica leads."`
}

// PauseOf is the JSON of a pause.
func PauseOf(p *delivery.Pause) Pause {
	return Pause{Namespace: p.Namespace, Hook: p.Hook, Reason: p.Reason, By: p.By, At: p.At.UTC(), Ends: utc(p.Ends), Cancel: p.Cancel, Volatile: p.Volatile}
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// Pauses are those that a caller may know of.
type Pauses struct {
	Items []Pause `json:"data" nullable:"false" doc:"The widest first."`
}

// Paused is what became of a wish to pause.
type Paused struct {
	Pause    Pause `json:"pause"`
	Hooks    *int  `json:"hooks,omitempty" doc:"How many Hooks the scope has now; absent if that could not be found out. 0 may be a typing error."`
	Canceled int   `json:"canceled" doc:"Deliveries whose agents are told to stop."`
}

// Resumed is what became of a wish to resume.
type Resumed struct {
	Ended bool    `json:"ended" doc:"There was a pause of this scope, and it has ended."`
	Still []Pause `json:"still" nullable:"false" doc:"Pauses of other scopes that go on stopping calls of these Hooks."`
}
