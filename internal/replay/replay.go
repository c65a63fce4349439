package replay

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/store"
)

// Options say how recordings are replayed; the durations are as the controller's.
type Options struct {
	Policy                                  hook.Policy
	PendingAfter, Stabilization, QuietAfter time.Duration
	Settle                                  time.Duration // for which time goes on after the last record, with nothing new
}

// Run replays recordings, each for itself, with the Hooks to try. A Hook without a namespace is tried in the
// namespace of the recorded Pods. The errors name the file.
func Run(ctx context.Context, paths []string, hooks []*v1alpha2.Hook, o Options) (*Story, error) {
	story := &Story{Incidents: []Incident{}, Deliveries: []Delivery{}}
	for _, path := range paths {
		part, err := replayFile(ctx, path, hooks, o)
		if err != nil {
			return nil, fmt.Errorf("replay %s: %w", path, err)
		}
		story.Recordings = append(story.Recordings, nameOf(path))
		story.Incidents = append(story.Incidents, part.Incidents...)
		story.Deliveries = append(story.Deliveries, part.Deliveries...)
	}
	return story, nil
}

// nameOf is the name of a recording: its file's, without the ending.
func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".jsonl") }

// replayFile feeds one recording through detection, ledger and Hooks.
func replayFile(ctx context.Context, path string, hooks []*v1alpha2.Hook, o Options) (Story, error) {
	f, err := os.Open(path)
	if err != nil {
		return Story{}, err
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		return Story{}, err
	}
	r, err := newReplay(ctx, rec, hooks, o)
	if err != nil {
		return Story{}, err
	}
	defer r.store.Close()
	timing := detect.Timing{PendingAfter: o.PendingAfter, Stabilization: o.Stabilization, QuietAfter: o.QuietAfter, CatchUp: time.Hour}
	if err := detect.Play(rec, timing, o.Settle, r.step); err != nil {
		return Story{}, err
	}
	return r.story(ctx, nameOf(path))
}

// replay is khook on a virtual clock: a real ledger on a store in memory, and agents that finish
// at once. Nothing in it reads the time of day: the same recording always gives the same story.
type replay struct {
	ctx    context.Context
	base   time.Time
	clock  *clocktesting.FakePassiveClock
	store  *store.Store
	ledger *ledger.Ledger
	due    []*delivery.Delivery
	ended  []*incident.Incident
}

func newReplay(ctx context.Context, rec *recording.Recording, hooks []*v1alpha2.Hook, o Options) (*replay, error) {
	set := hook.NewSet(o.Policy)
	for _, h := range hooks {
		if h.Namespace == "" {
			h = h.DeepCopy()
			h.Namespace = rec.Namespace()
		}
		if errs := set.Put(h); len(errs) > 0 {
			return nil, fmt.Errorf("hook %s can't be used: %w", h.Name, errs.ToAggregate())
		}
	}
	r := &replay{ctx: ctx, base: rec.Base, clock: clocktesting.NewFakePassiveClock(rec.Base)}
	var err error
	if r.store, err = store.Open(ctx, store.Config{Path: ":memory:"}); err != nil {
		return nil, err
	}
	r.ledger, err = ledger.New(ctx, ledger.Config{QuietAfter: o.QuietAfter, Clock: r.clock, Observe: r.observe}, r.store, set)
	return r, err
}

func (r *replay) observe(a ledger.Applied) {
	r.due = append(r.due, a.Deliveries...)
	r.ended = append(r.ended, a.Resolved...)
}

// step is one moment of the recording: incidents that went quiet until then end first.
func (r *replay) step(now time.Time, signals []incident.Signal) error {
	r.clock.SetTime(now)
	if at, some := r.ledger.NextQuiet(r.base); some && !at.After(now) {
		if err := r.ledger.EndQuiet(r.ctx, r.base); err != nil {
			return err
		}
	}
	if len(signals) > 0 {
		if err := r.ledger.Apply(r.ctx, signals); err != nil {
			return err
		}
	}
	return r.answer(now)
}

// answer plays the agents: each finishes at once, and what recovers then counts as its work. So a call never waits for its
// agent here, nor for groupWait: what is shown is which calls become due, and not when a busy agent would get them.
func (r *replay) answer(now time.Time) error {
	for _, d := range r.due {
		d.State, d.CalledAt, d.EndedAt = delivery.Succeeded, now, now
	}
	changed := r.due
	var recovered []string
	for _, inc := range r.ended {
		if inc.Resolution == incident.Recovered {
			recovered = append(recovered, inc.ID)
		}
	}
	r.due, r.ended = nil, nil
	if len(recovered) > 0 {
		waiting, err := r.store.DeliveriesOfIncidents(r.ctx, recovered)
		if err != nil {
			return err
		}
		for _, d := range waiting {
			d.Outcome, d.OutcomeAt = delivery.OutcomeRecovered, now
			changed = append(changed, d)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return r.store.Write(r.ctx, func(tx *store.Tx) error {
		return tx.Save(r.ctx, &store.Changes{Deliveries: changed})
	})
}

// maxStory bounds the story of one recording.
const maxStory = 1_000_000

func (r *replay) story(ctx context.Context, recording string) (Story, error) {
	incidents, err := r.store.AllIncidents(ctx, maxStory)
	if err != nil {
		return Story{}, err
	}
	deliveries, err := r.store.AllDeliveries(ctx, maxStory)
	if err != nil {
		return Story{}, err
	}
	byID := map[string]*incident.Incident{}
	for _, inc := range incidents {
		byID[inc.ID] = inc
	}
	var story Story
	for _, inc := range incidents {
		story.Incidents = append(story.Incidents, r.incident(recording, inc, byID[inc.CausedBy]))
	}
	for _, d := range deliveries {
		events, err := r.store.DeliveryEvents(ctx, d.ID)
		if err != nil {
			return Story{}, err
		}
		story.Deliveries = append(story.Deliveries, Delivery{
			Recording: recording, Hook: d.Hook.String(), EventType: string(d.EventType), Group: d.Group,
			Agent: d.Agent.String(), At: r.seconds(d.CreatedAt), Prompt: d.Prompt, Events: events,
		})
	}
	return story, nil
}

func (r *replay) incident(recording string, inc, cause *incident.Incident) Incident {
	told := Incident{
		Recording: recording, EventType: string(inc.Type), Namespace: inc.Resource.Namespace, ResourceName: inc.Resource.Name,
		Container: inc.Container, Workload: inc.Workload.String(),
		FirstSeen: r.seconds(inc.FirstSeen), LastSeen: r.seconds(inc.LastSeen),
		Events: inc.Events, Duplicates: inc.Duplicates, Message: inc.Message,
	}
	if !inc.Open() {
		at, resolution := r.seconds(inc.ResolvedAt), string(inc.Resolution)
		told.ResolvedAt, told.Resolution = &at, &resolution
	}
	if cause != nil {
		t := string(cause.Type)
		told.CausedBy = &t
	}
	return told
}

// seconds is a time as seconds of the recording, to the millisecond.
func (r *replay) seconds(t time.Time) float64 {
	return math.Round(t.Sub(r.base).Seconds()*1000) / 1000
}
