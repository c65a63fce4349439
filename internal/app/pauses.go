package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
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

	set    sync.Mutex  // held while the set is changed, and for nothing that takes time
	writes sync.Mutex  // held while the history is written: one change at a time
	cancel atomic.Bool // agents may have to be told to stop, by a pause with Cancel
}

// change replaces the pauses of the set by what do makes of a copy of them.
func (p *pauses) change(do func(delivery.Pauses) delivery.Pauses) {
	p.set.Lock()
	defer p.set.Unlock()
	p.app.hooks.SetPauses(do(slices.Clone(p.app.hooks.Pauses())))
}

// put adds a pause, or replaces that of the same scope; false if there is no room for it.
func (p *pauses) put(asked delivery.Pause) (there bool) {
	p.change(func(all delivery.Pauses) delivery.Pauses {
		ofHooks := 0
		others := slices.DeleteFunc(all, func(one delivery.Pause) bool { return one.PauseScope == asked.PauseScope })
		for _, one := range others {
			if one.Hook != "" {
				ofHooks++
			}
		}
		if asked.Hook != "" && ofHooks >= delivery.MaxPauses {
			return p.app.hooks.Pauses()
		}
		there = true
		return append(others, asked)
	})
	return there
}

// mark says of a pause whether it could be recorded, unless it was replaced meanwhile.
func (p *pauses) mark(one delivery.Pause, volatile bool) {
	p.change(func(all delivery.Pauses) delivery.Pauses {
		for i := range all {
			if same(all[i], one) {
				all[i].Volatile = volatile
			}
		}
		return all
	})
}

// drop takes pauses out of the set, but for those that were replaced meanwhile.
func (p *pauses) drop(ended ...delivery.Pause) {
	p.change(func(all delivery.Pauses) delivery.Pauses {
		return slices.DeleteFunc(all, func(one delivery.Pause) bool {
			return slices.ContainsFunc(ended, func(e delivery.Pause) bool { return same(one, e) })
		})
	})
}

// has says whether a pause is in the set.
func (p *pauses) has(asked delivery.Pause) bool {
	return slices.ContainsFunc(p.app.hooks.Pauses(), func(one delivery.Pause) bool { return same(one, asked) })
}

// same says whether two are the same pause: of the same scope, and made at the same moment.
func same(a, b delivery.Pause) bool { return a.PauseScope == b.PauseScope && a.At.Equal(b.At) }

// load takes over what the history has, before anything is called.
func (p *pauses) load(ctx context.Context) error {
	kept, err := p.app.store.Pauses(ctx)
	if err != nil {
		return fmt.Errorf("read the pauses: %w", err)
	}
	p.cancel.Store(true) // a former leader may have ended in the middle of it
	p.change(func(delivery.Pauses) delivery.Pauses { return kept })
	return nil
}

// follow takes over what the history has by now where another replica leads. It holds the lock while it reads, so that what it has read is
// never older than a pause that is made once this replica leads.
func (p *pauses) follow(ctx context.Context, reader *store.Reader) error {
	p.set.Lock()
	defer p.set.Unlock()
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
		return p.askPause(ctx, &asked)
	}
	before := p.app.hooks.Pauses()
	if !p.put(asked) {
		return 0, &delivery.RefusedError{Reason: fmt.Sprintf("%s are paused one by one, as many as may be: pause a namespace, or all Hooks", incident.Counted(delivery.MaxPauses, "Hook"))}
	}
	p.touch(asked.PauseScope)
	if asked.Cancel {
		p.cancel.Store(true)
	}
	if err := p.save(ctx, asked); err != nil {
		if store.OfWish(ctx) { // another replica was asked: it says that nothing was done, or has it tried again
			p.undo(asked, before)
			return 0, err
		}
		p.mark(asked, true)
		p.log.Error(err, "calls are paused in this process only: the pause can't be recorded, will retry", "scope", asked.PauseScope, "user", asked.By)
		return 0, errors.Join(server.ErrNotDurable, err)
	}
	p.log.Info("calls are paused", "scope", asked.PauseScope, "user", asked.By, "until", asked.Ends)
	if asked.Cancel {
		canceled, err := leader.dispatcher.CancelWithin(store.WithWish(ctx, ""), asked.PauseScope, asked.By)
		if err != nil {
			err = &partlyError{err}
		}
		return canceled, err
	}
	return 0, nil
}

// partlyError is that calls are paused, and not all agents could be told to stop yet.
type partlyError struct{ error }

// Unwrap returns the cause.
func (e *partlyError) Unwrap() error { return e.error }

// askPause has the replica that leads pause calls.
func (p *pauses) askPause(ctx context.Context, asked *delivery.Pause) (canceled int, err error) {
	answer, confirmed, err := p.app.intake.ask(ctx, wishPause, asked.By, &wish{Pause: asked})
	switch {
	case err != nil:
		return 0, err
	case !confirmed:
		return 0, &partlyError{errors.New("the replica that leads has recorded the pause, and not said what it did")} //nolint:err113 // it is for the log
	case answer.Partly != "":
		return answer.Canceled, &partlyError{errors.New(answer.Partly)} //nolint:err113 // it came as a text
	}
	return answer.Canceled, nil
}

// undo takes a pause out of the set that could not be recorded, and puts back the one that it replaced.
func (p *pauses) undo(asked delivery.Pause, before delivery.Pauses) {
	p.change(func(all delivery.Pauses) delivery.Pauses {
		at := slices.IndexFunc(all, func(one delivery.Pause) bool { return same(one, asked) })
		if at < 0 {
			return all
		}
		all = slices.Delete(all, at, at+1)
		if i := slices.IndexFunc(before, func(one delivery.Pause) bool { return one.PauseScope == asked.PauseScope }); i >= 0 {
			all = append(all, before[i])
		}
		return all
	})
	p.touch(asked.PauseScope)
}

// save records a pause, unless it was ended or replaced before its turn came.
func (p *pauses) save(ctx context.Context, asked delivery.Pause) error {
	p.writes.Lock()
	defer p.writes.Unlock()
	if !p.has(asked) {
		return nil
	}
	return p.app.store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Fulfil(ctx); err != nil {
			return err
		}
		return tx.SavePause(ctx, &asked)
	})
}

// Resume implements server.Pausing.
func (p *pauses) Resume(ctx context.Context, scope delivery.PauseScope, by string) (ended bool, err error) {
	leader := p.app.leader.Load()
	if leader == nil {
		answer, confirmed, err := p.app.intake.ask(ctx, wishResume, by, &wish{Scope: &scope})
		return answer.Ended || !confirmed && err == nil, err
	}
	all := p.app.hooks.Pauses()
	i := slices.IndexFunc(all, func(one delivery.Pause) bool { return one.PauseScope == scope })
	if i < 0 {
		return false, nil
	}
	if err := p.end(ctx, all[i]); err != nil {
		return false, err
	}
	p.log.Info("calls are resumed", "scope", scope, "user", by)
	p.resumed(ctx, leader, scope)
	return true, nil
}

// end takes a pause out of the history, and then out of the set. One that was replaced meanwhile stays.
func (p *pauses) end(ctx context.Context, one delivery.Pause) error {
	p.writes.Lock()
	defer p.writes.Unlock()
	if !p.has(one) {
		return nil
	}
	if err := p.app.store.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Fulfil(ctx); err != nil {
			return err
		}
		_, err := tx.EndPause(ctx, one.PauseScope)
		return err
	}); err != nil {
		return err
	}
	p.drop(one)
	return nil
}

// resumed lets calls through again that no pause stops any more: those that wait, and those that were held back.
func (p *pauses) resumed(ctx context.Context, leader *leaderParts, scopes ...delivery.PauseScope) {
	leader.dispatcher.Resumed()
	p.touch(scopes...)
	if err := leader.ledger.Reconsider(ctx); err != nil && ctx.Err() == nil {
		p.log.Error(err, "cannot look again at what was held back while calls were paused, will retry")
	}
}

// touch has the status of the Hooks in the scopes written anew.
func (p *pauses) touch(scopes ...delivery.PauseScope) {
	for _, ref := range p.app.hooks.Refs() {
		if slices.ContainsFunc(scopes, func(s delivery.PauseScope) bool { return s.Covers(ref) }) {
			p.app.status.Touch(ref)
		}
	}
}

// run ends pauses whose time is over, records those that could not be recorded, and goes on telling agents to stop.
func (p *pauses) run(ctx context.Context, leader *leaderParts) error {
	return runEvery(ctx, pauseEvery, func(ctx context.Context) {
		if p.cancel.Swap(false) && !p.cancelAgain(ctx, leader) {
			p.cancel.Store(true)
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
	now := time.Now()
	var over []delivery.Pause
	var scopes []delivery.PauseScope
	var errs []error
	for _, one := range p.app.hooks.Pauses() {
		switch {
		case one.Over(now):
			over, scopes = append(over, one), append(scopes, one.PauseScope)
		case one.Volatile:
			err := p.save(ctx, one)
			if err == nil {
				p.mark(one, false)
			}
			errs = append(errs, err)
		}
	}
	if len(over) == 0 {
		return errors.Join(errs...)
	}
	p.drop(over...) // their time is over, recorded or not
	for _, scope := range scopes {
		p.log.Info("a pause is over by itself", "scope", scope)
	}
	p.resumed(ctx, leader, scopes...)
	return errors.Join(append(errs, p.forget(ctx, now))...)
}

// forget deletes pauses that are over from the history.
func (p *pauses) forget(ctx context.Context, now time.Time) error {
	p.writes.Lock()
	defer p.writes.Unlock()
	return p.app.store.Write(ctx, func(tx *store.Tx) error { return tx.EndPausesBy(ctx, now) })
}
