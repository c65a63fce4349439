package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/server"
	"github.com/kagent-dev/khook/internal/store"
)

// pauseEvery is how often is looked whether pauses are over, and whether those that could not be recorded can be now.
const pauseEvery = 5 * time.Second

// pauses stops and resumes calls because people want it so, on the leader. What the set of Hooks knows is what the ledger and the dispatcher go
// by; the history has it for the next start and the next leader.
//
// Invariant: a pause is in the set before anything else is done about it, and leaves the set after it has left the history. So calls
// stop also where nothing can be written, and none is made that a pause in the history forbids.
type pauses struct {
	app *App
	log logr.Logger

	mu sync.Mutex // one change at a time
}

// load takes over what the history has, before anything is called.
func (p *pauses) load(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept, err := p.app.store.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("read the pauses: %w", err)
	}
	p.app.hooks.SetPauses(kept)
	return nil
}

// follow takes over what the history has by now where another replica leads. It holds the lock while it reads, so that what it has read is
// never older than a pause that is made once this replica leads.
func (p *pauses) follow(ctx context.Context, reader *store.Reader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.app.leader.Load() != nil {
		return nil
	}
	kept, err := reader.Pauses(ctx)
	if err != nil {
		return err
	}
	p.app.hooks.SetPauses(kept)
	return nil
}

// Pauses implements server.Pausing.
func (p *pauses) Pauses(ctx context.Context) (delivery.Pauses, error) {
	all := p.app.hooks.Pauses()
	if p.app.leader.Load() == nil {
		var err error
		if all, err = p.app.store.Reader().Pauses(ctx); err != nil {
			return nil, err
		}
	}
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(all), func(one delivery.Pause) bool { return one.Over(now) }), nil
}

// Pause implements server.Pausing.
func (p *pauses) Pause(ctx context.Context, asked delivery.Pause) (canceled int, err error) {
	leader := p.app.leader.Load()
	if leader == nil {
		return 0, server.ErrStandby
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(p.app.hooks.Pauses()), func(one delivery.Pause) bool { return one.PauseScope == asked.PauseScope })
	if len(others) >= delivery.MaxPauses {
		return 0, &delivery.RefusedError{Reason: fmt.Sprintf("%d scopes are paused, as many as there may be: pause a namespace, or all Hooks", len(others))}
	}
	p.app.hooks.SetPauses(append(slices.Clone(others), asked))
	p.touch(asked.PauseScope)
	err = p.app.store.Write(ctx, func(tx *store.Tx) error { return tx.SavePause(ctx, &asked) })
	if err != nil {
		asked.Volatile = true
		p.app.hooks.SetPauses(append(others, asked))
		p.log.Error(err, "calls are paused in this process only: the pause can't be recorded, will retry", "scope", asked.PauseScope, "user", asked.By)
		return 0, errors.Join(server.ErrNotDurable, err)
	}
	p.log.Info("calls are paused", "scope", asked.PauseScope, "user", asked.By, "until", asked.Ends)
	if asked.Cancel {
		return leader.dispatcher.CancelWithin(ctx, asked.PauseScope, asked.By)
	}
	return 0, nil
}

// Resume implements server.Pausing.
func (p *pauses) Resume(ctx context.Context, scope delivery.PauseScope, by string) (ended bool, err error) {
	leader := p.app.leader.Load()
	if leader == nil {
		return false, server.ErrStandby
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.app.hooks.Pauses()
	rest := slices.DeleteFunc(slices.Clone(all), func(one delivery.Pause) bool { return one.PauseScope == scope })
	if len(rest) == len(all) {
		return false, nil
	}
	if err := p.app.store.Write(ctx, func(tx *store.Tx) error { _, err := tx.EndPause(ctx, scope); return err }); err != nil {
		return false, err
	}
	p.log.Info("calls are resumed", "scope", scope, "user", by)
	p.resumed(ctx, leader, rest, scope)
	return true, nil
}

// resumed lets calls through again that no other pause stops: those that wait, and those that were held back.
func (p *pauses) resumed(ctx context.Context, leader *leaderParts, rest delivery.Pauses, scopes ...delivery.PauseScope) {
	p.app.hooks.SetPauses(rest)
	leader.dispatcher.Resumed()
	if err := leader.ledger.Reconsider(ctx); err != nil && ctx.Err() == nil {
		p.log.Error(err, "cannot look again at what was held back while calls were paused, will retry")
	}
	p.touch(scopes...)
}

// touch has the status of the Hooks in the scopes written anew.
func (p *pauses) touch(scopes ...delivery.PauseScope) {
	for _, ref := range p.app.hooks.Refs() {
		if slices.ContainsFunc(scopes, func(s delivery.PauseScope) bool { return s.Covers(ref) }) {
			p.app.status.Touch(ref)
		}
	}
}

// run ends pauses whose time is over, records those that could not be recorded, and tells agents to stop that a former leader was to tell.
func (p *pauses) run(ctx context.Context, leader *leaderParts) error {
	canceled := false
	return runEvery(ctx, pauseEvery, func(ctx context.Context) {
		if !canceled {
			canceled = p.cancelAgain(ctx, leader)
		}
		if err := p.tend(ctx, leader); err != nil && ctx.Err() == nil {
			p.log.Error(err, "cannot record what became of pauses, will retry")
		}
		counts := map[string]int{"all": 0, "namespace": 0, "hook": 0}
		for _, one := range p.app.hooks.Pauses() {
			counts[kindOf(one.PauseScope)]++
		}
		for kind, n := range counts {
			p.app.publisher.metrics.pauses.WithLabelValues(kind).Set(float64(n))
		}
	})
}

func kindOf(s delivery.PauseScope) string {
	switch {
	case s.Namespace == "":
		return "all"
	case s.Hook == "":
		return "namespace"
	}
	return "hook"
}

// cancelAgain repeats what a pause with Cancel began: its leader may have ended in the middle.
func (p *pauses) cancelAgain(ctx context.Context, leader *leaderParts) bool {
	for _, one := range p.app.hooks.Pauses() {
		if !one.Cancel || one.Over(time.Now()) {
			continue
		}
		if _, err := leader.dispatcher.CancelWithin(ctx, one.PauseScope, one.By); err != nil {
			p.log.Error(err, "cannot tell the agents to stop whose calls were paused, will retry", "scope", one.PauseScope)
			return false
		}
	}
	return true
}

func (p *pauses) tend(ctx context.Context, leader *leaderParts) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var rest delivery.Pauses
	var over []delivery.PauseScope
	unsaved := false
	for _, one := range p.app.hooks.Pauses() {
		if one.Over(now) {
			over = append(over, one.PauseScope)
			continue
		}
		rest, unsaved = append(rest, one), unsaved || one.Volatile
	}
	if len(over) == 0 && !unsaved {
		return nil
	}
	if err := p.app.store.Write(ctx, func(tx *store.Tx) error {
		for i := range rest {
			if rest[i].Volatile {
				if err := tx.SavePause(ctx, &rest[i]); err != nil {
					return err
				}
			}
		}
		return tx.EndPausesBy(ctx, now)
	}); err != nil {
		if len(over) > 0 { // its time is over, recorded or not
			p.resumed(ctx, leader, rest, over...)
		}
		return err
	}
	for i := range rest {
		rest[i].Volatile = false
	}
	for _, scope := range over {
		p.log.Info("a pause is over by itself", "scope", scope)
	}
	p.resumed(ctx, leader, rest, over...)
	return nil
}
