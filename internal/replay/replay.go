package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/store"
)

// Options say how recordings are replayed; all but Settle are as the controller's.
type Options struct {
	Policy                                           hook.Policy
	PendingAfter, Stabilization, QuietAfter, CatchUp time.Duration
	MaxCallsPerHour                                  int           // of all Hooks together; 0 for no limit
	Settle                                           time.Duration // for which time goes on after the last record, with nothing new
}

// Run replays recordings, each for itself, with the Hooks to try. A Hook without a namespace is tried in the
// namespace of the recorded Pods. The path - is the standard input. The errors name the file.
func Run(ctx context.Context, paths []string, hooks []*v1alpha2.Hook, o Options) (*Story, error) {
	story := &Story{Incidents: []Incident{}, Deliveries: []Delivery{}, NotCalled: []NotCalled{}, Undetected: []Undetected{}, NotFitted: []NotFitted{}}
	for _, path := range paths {
		part, err := replayFile(ctx, path, hooks, o)
		if err != nil {
			return nil, fmt.Errorf("replay %s: %w", path, err)
		}
		story.Recordings = append(story.Recordings, nameOf(path))
		story.Incidents = append(story.Incidents, part.Incidents...)
		story.Deliveries = append(story.Deliveries, part.Deliveries...)
		story.NotCalled = append(story.NotCalled, part.NotCalled...)
		story.Undetected = append(story.Undetected, part.Undetected...)
		story.NotFitted = append(story.NotFitted, part.NotFitted...)
	}
	return story, nil
}

// nameOf is the name of a recording: its file's, without the ending.
func nameOf(path string) string {
	if path == stdin {
		return "standard input"
	}
	return strings.TrimSuffix(filepath.Base(path), ".jsonl")
}

// stdin is the path of the standard input.
const stdin = "-"

func open(path string) (io.ReadCloser, error) {
	if path == stdin {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(path)
}

// replayFile plays one recording.
func replayFile(ctx context.Context, path string, hooks []*v1alpha2.Hook, o Options) (Story, error) {
	f, err := open(path)
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
	defer r.close()
	if err := r.play(rec, o); err != nil {
		return Story{}, err
	}
	return r.story(nameOf(path), failedPods(rec))
}

// replay is khook on a virtual clock: what detection says is recorded by a real ledger in a store in memory, and a real
// dispatcher takes the steps of the calls, one at a time. Nothing in it reads the time of day: the same recording always
// gives the same story.
type replay struct {
	ctx     context.Context
	base    time.Time
	clock   *clocktesting.FakeClock
	store   *store.Store
	ledger  *ledger.Ledger
	hooks   *hook.Set
	courier *courier
	holds   *holds
	aside   *incident.DeadLetter // the newest one
}

func newReplay(ctx context.Context, rec *recording.Recording, hooks []*v1alpha2.Hook, o Options) (*replay, error) {
	set, err := hookSet(rec.Namespace(), hooks, o.Policy)
	if err != nil {
		return nil, err
	}
	r := &replay{ctx: ctx, base: rec.Base, hooks: set, clock: clocktesting.NewFakeClock(rec.Base)}
	if r.store, err = store.Open(ctx, store.Config{Path: ":memory:"}); err != nil {
		return nil, err
	}
	r.ledger, err = ledger.New(ctx, ledger.Config{
		QuietAfter: o.QuietAfter, MaxCallsPerHour: o.MaxCallsPerHour, Clock: r.clock, Observe: r.recorded,
	}, r.store, set)
	if err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	r.courier, r.holds = newCourier(r.clock, r.store, r.ledger, set), newHolds(rec.Base, r.store)
	return r, nil
}

// hookSet is the Hooks as the controller has them.
func hookSet(namespace string, hooks []*v1alpha2.Hook, policy hook.Policy) (*hook.Set, error) {
	set := hook.NewSet(policy)
	for _, h := range hooks {
		if h.Namespace == "" {
			h = h.DeepCopy()
			h.Namespace = namespace
		}
		if errs := set.Put(h); len(errs) > 0 {
			return nil, fmt.Errorf("hook %s can't be used: %w", h.Name, errs.ToAggregate())
		}
	}
	return set, nil
}

// play feeds the recording through detection, whose signals do not depend on what becomes of them, so that what ledger and
// dispatcher do in between can follow step by step. Objects are seen as the controller sees them: without what it drops.
func (r *replay) play(rec *recording.Recording, o Options) error {
	for i := range rec.Records {
		if pod := rec.Records[i].Pod; pod != nil {
			kube.Reduce(pod)
		} else {
			kube.Reduce(rec.Records[i].Event)
		}
	}
	timing := detect.Timing{PendingAfter: o.PendingAfter, Stabilization: o.Stabilization, QuietAfter: o.QuietAfter, CatchUp: o.CatchUp}
	return detect.Play(rec, timing, o.Settle, r.step)
}

// recorded takes over what a commit of the ledger changed.
func (r *replay) recorded(a ledger.Applied) {
	for _, d := range a.Deliveries {
		r.courier.add(d.ID, r.clock.Now())
	}
	for _, letter := range a.SetAside {
		r.aside = letter
	}
	r.holds.recorded(a)
}

// step is one moment of the recording: what comes due until then is done first, each at its time.
func (r *replay) step(now time.Time, signals []incident.Signal) error {
	for {
		at, do := r.nextDue()
		if do == nil || at.After(now) {
			break
		}
		if at.After(r.clock.Now()) {
			r.clock.SetTime(at)
		}
		if err := do(); err != nil {
			return err
		}
	}
	r.clock.SetTime(now)
	if _, err := r.ledger.Record(r.ctx, signals); err != nil {
		return err
	}
	if r.aside != nil {
		return fmt.Errorf("khook puts aside what it can't record of %s/%s: %s", r.aside.Signal.Resource.Namespace, r.aside.Signal.Resource.Name, r.aside.Error)
	}
	return r.settle()
}

// nextDue is what time alone brings next, and when: an incident ends as quiet, calls that are held back are looked at
// again, a call is due. nil if nothing does.
func (r *replay) nextDue() (at time.Time, do func() error) {
	earlier := func(due time.Time, ok bool, then func() error) {
		if ok && (do == nil || due.Before(at)) {
			at, do = due, then
		}
	}
	due, ok := r.ledger.NextQuiet(r.base)
	earlier(due, ok, r.endQuiet)
	due, ok = r.holds.next()
	earlier(due, ok, r.reconsider)
	due, ok = r.courier.next()
	earlier(due, ok, r.settle)
	return at, do
}

// endQuiet ends what is quiet. Until the end of the recording everything was watched.
func (r *replay) endQuiet() error {
	if err := r.ledger.EndQuiet(r.ctx, r.base); err != nil {
		return err
	}
	return r.settle()
}

// reconsider looks again at the calls that are held back.
func (r *replay) reconsider() error {
	r.holds.looked()
	if err := r.ledger.Reconsider(r.ctx); err != nil {
		return err
	}
	return r.settle()
}

// settle notes which calls are held back by now, and takes the steps of those that are due.
func (r *replay) settle() error {
	if err := r.holds.read(r.ctx, r.clock.Now()); err != nil {
		return err
	}
	return r.courier.take(r.ctx, r.clock.Now())
}

// close lets go of what the replay holds.
func (r *replay) close() {
	r.courier.close(r.ctx)
	_ = r.store.Close() // it was in memory only
}
