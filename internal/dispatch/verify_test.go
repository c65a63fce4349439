package dispatch

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/store"
)

// steady is an agent that works for five minutes and completes its task.
type steady struct {
	Agent
	began time.Time
}

func (s *steady) Peer(context.Context, delivery.AgentRef) (delivery.Peer, error) {
	return delivery.Peer{Dialect: agent.Kagent10, User: "khook", URL: "http://a", Once: true}, nil
}

func (s *steady) Send(context.Context, agent.Request) (agent.Task, error) {
	s.began = time.Now()
	return agent.Task{ID: "t", State: agent.Working}, nil
}

func (s *steady) Task(context.Context, delivery.AgentRef, string) (agent.Task, error) {
	t := agent.Task{ID: "t", State: agent.Working}
	if time.Since(s.began) >= 5*time.Minute {
		t.State = agent.Completed
	}
	return t, nil
}

// aftermath is a history in a file, with a delivery about a failing Pod, in fake time.
type aftermath struct {
	*rig
	path      string
	agent     *steady
	begun     time.Time
	call      *delivery.Delivery
	incidents map[string]*incident.Incident // the newest of each Pod
	healthy   atomic.Bool                   // the workload is, as far as its Pods tell
	watched   time.Time                     // since when the cluster is; zero if it is not
	lists     time.Duration                 // how long after a start it takes
}

func newAftermath(t *testing.T, change ...func(*delivery.Delivery)) *aftermath {
	a := &aftermath{agent: &steady{}, begun: time.Now(), watched: time.Now(), incidents: map[string]*incident.Incident{}, path: filepath.Join(t.TempDir(), "khook.db")}
	a.rig = &rig{T: t, cfg: Config{
		Grace: -1, VerifyWindow: 10 * time.Minute,
		Workload: func(context.Context, string, incident.Workload) (int, int, bool) {
			return 1, map[bool]int{true: 1}[a.healthy.Load()], true
		},
		WatchedSince: func() (time.Time, bool) { return a.watched, !a.watched.IsZero() && !time.Now().Before(a.watched) },
	}}
	a.start()
	a.call = a.due(change...)
	inc, err := a.store.Incident(t.Context(), a.call.IncidentID)
	if err != nil {
		t.Fatal(err)
	}
	a.incidents["cart-1"] = inc
	return a
}

func (a *aftermath) start() {
	st, err := store.Open(context.Background(), store.Config{Path: a.path})
	if err != nil {
		a.Fatal(err)
	}
	a.store = st
	a.watched = time.Now().Add(a.lists)
	ctx, cancel := context.WithCancel(context.Background())
	a.d, a.stop, a.ended = New(a.cfg, st, a.agent), cancel, make(chan struct{})
	go func(d *Dispatcher, ended chan struct{}) {
		defer close(ended)
		_ = d.Run(ctx)
	}(a.d, a.ended)
}

func (a *aftermath) kill() {
	a.stop()
	<-a.ended
	if err := a.store.Close(); err != nil {
		a.Fatal(err)
	}
}

// at waits until some minutes after the call was scheduled.
func (a *aftermath) at(minutes float64) *aftermath {
	time.Sleep(time.Until(a.begun.Add(time.Duration(minutes * float64(time.Minute)))))
	synctest.Wait()
	return a
}

// fails opens an incident of a Pod of the workload, which the delivery does not cover.
func (a *aftermath) fails(pod string, change ...func(*incident.Incident)) {
	was := a.incidents["cart-1"]
	s := incident.Signal{Key: fmt.Sprint(pod, time.Since(a.begun)), Kind: incident.Observed, Type: was.Type, At: time.Now(), Count: 1, Observation: was.Observation}
	s.Resource.Name, s.Resource.UID = pod, pod
	inc := incident.Open(incident.Origin{}, &s)
	for _, c := range change {
		c(inc)
	}
	a.incidents[pod] = inc
	a.write(func(*store.Tx) *store.Changes { return &store.Changes{Incidents: []*incident.Incident{inc}} })
}

// ends ends the newest incident of a Pod.
func (a *aftermath) ends(pod string, as incident.Resolution) {
	inc := a.incidents[pod]
	inc.Resolve(as, time.Now())
	a.write(func(*store.Tx) *store.Changes { return &store.Changes{Incidents: []*incident.Incident{inc}} })
	a.d.Wake(a.call.ID)
}

// outcome is what is told when all is over: the outcome, when in minutes, when it had recovered and in which phase.
func (a *aftermath) outcome() string {
	d := a.now(a.call)
	minutes := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return fmt.Sprintf("%.0f", t.Sub(a.begun).Minutes())
	}
	switch d.Outcome {
	case delivery.OutcomeRecovered:
		return fmt.Sprintf("recovered at %s, %s", minutes(d.OutcomeAt), d.RecoveredIn())
	case delivery.OutcomeRelapsed:
		return fmt.Sprintf("relapsed at %s after %.0f", minutes(d.OutcomeAt), d.RelapsedAfter().Minutes())
	}
	return string(d.Outcome)
}

func TestAnOutcomeIsDecidedAtTheEndOfItsWindow(t *testing.T) {
	const recovered, gone, quiet = incident.Recovered, incident.WasGone, incident.Quiet
	other := func(i *incident.Incident) { i.Container = "another" }
	for name, tc := range map[string]struct {
		happens func(*aftermath)
		want    string
	}{
		"while the agent works":      {func(a *aftermath) { a.at(3).ends("cart-1", recovered) }, "recovered at 3, during-task"},
		"after the agent's end":      {func(a *aftermath) { a.at(8).ends("cart-1", recovered) }, "recovered at 8, after-task"},
		"never":                      {func(*aftermath) {}, "persisting"},
		"too late":                   {func(a *aftermath) { a.at(17).ends("cart-1", recovered) }, "persisting"},
		"nobody knows":               {func(a *aftermath) { a.at(8).ends("cart-1", quiet) }, "unknown"},
		"fails again":                {func(a *aftermath) { a.at(6).ends("cart-1", recovered); a.at(9).fails("cart-1") }, "relapsed at 9 after 3"},
		"fails again after days":     {func(a *aftermath) { a.at(6).ends("cart-1", recovered); a.at(17).fails("cart-1") }, "recovered at 6, after-task"},
		"again as another Pod":       {func(a *aftermath) { a.at(6).ends("cart-1", recovered); a.at(9).fails("cart-2") }, "relapsed at 9 after 3"},
		"only another container":     {func(a *aftermath) { a.at(6).ends("cart-1", recovered); a.at(9).fails("cart-1", other) }, "recovered at 6, after-task"},
		"deleted, and healthy":       {func(a *aftermath) { a.at(6).ends("cart-1", gone); a.at(8).healthy.Store(true) }, "recovered at 8, after-task"},
		"deleted, and not healthy":   {func(a *aftermath) { a.at(6).ends("cart-1", gone) }, "persisting"},
		"deleted, healthy for a bit": {func(a *aftermath) { a.healthy.Store(true); a.at(6).ends("cart-1", gone); a.at(10).healthy.Store(false) }, "persisting"},
		"deleted, and fails on":      {func(a *aftermath) { a.at(6).ends("cart-1", gone); a.at(7).fails("cart-2") }, "persisting"},
		"deleted, well, fails again": {func(a *aftermath) { a.healthy.Store(true); a.at(6).ends("cart-1", gone); a.at(9).fails("cart-2") }, "relapsed at 9 after 3"},
		"again and again": {func(a *aftermath) {
			a.at(6).ends("cart-1", recovered)
			a.at(9).fails("cart-1")
			a.at(11).ends("cart-1", recovered)
		}, "relapsed at 9 after 3"},
		"again while the agent works": {func(a *aftermath) {
			a.at(1).ends("cart-1", recovered)
			a.at(2).fails("cart-1")
			a.cover(a.call, a.incidents["cart-1"].ID)
			a.at(8).ends("cart-1", recovered)
		}, "recovered at 8, after-task"},
		"again while the agent works, and after": {func(a *aftermath) {
			a.at(1).ends("cart-1", recovered)
			a.at(2).fails("cart-1")
			a.cover(a.call, a.incidents["cart-1"].ID)
			a.at(8).ends("cart-1", recovered)
			a.at(10).fails("cart-1")
		}, "relapsed at 10 after 2"},
		"well before the agent's end, and again after": {func(a *aftermath) { a.at(1).ends("cart-1", recovered); a.at(9).fails("cart-1") }, "relapsed at 9 after 8"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAftermath(t)
				tc.happens(a)
				if at := time.Since(a.begun); at < 15*time.Minute {
					if early := a.at(14.9).outcome(); early != "" {
						t.Errorf("before the window's end: %s", early)
					}
				}
				if got := a.at(30).outcome(); got != tc.want {
					t.Errorf("%s, want %s", got, tc.want)
				}
				a.kill()
			})
		})
	}
}

// TestWhatHadRecoveredBeforeTheCallIsNotTheAgentsWork: a call that is made all the same finds all well.
func TestWhatHadRecoveredBeforeTheCallIsNotTheAgentsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAftermath(t, func(d *delivery.Delivery) { d.NextAt, d.EvenIfRecovered = d.CreatedAt.Add(2*time.Minute), true })
		a.at(1).ends("cart-1", incident.Recovered)
		if got := a.at(30).outcome(); got != "recovered at 1, before-call" {
			t.Error(got)
		}
		a.kill()
	})
}

// TestAWindowOfADaySurvivesThatKhookIsDownAtItsEnd: and the controller's default is changed meanwhile.
func TestAWindowOfADaySurvivesThatKhookIsDownAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAftermath(t, func(d *delivery.Delivery) { d.VerifyWindow = 24 * time.Hour })
		a.at(6).ends("cart-1", incident.Recovered)
		a.at(24 * 60).kill()
		a.cfg.VerifyWindow = time.Minute
		a.at(24*60 + 20).start()
		if got := a.at(24*60 + 25).outcome(); got != "recovered at 6, after-task" {
			t.Errorf("outcome %q", got)
		}
		a.kill()
	})
}

// TestNoOutcomeIsDecidedBeforeItIsSeenWhatHappenedMeanwhile: what failed again while khook was down is seen only after its start.
func TestNoOutcomeIsDecidedBeforeItIsSeenWhatHappenedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAftermath(t)
		a.lists = 30 * time.Second
		a.at(6).ends("cart-1", incident.Recovered)
		a.at(10).kill()
		a.at(20).start()
		if early := a.at(20.4).outcome(); early != "" {
			t.Errorf("before the cluster was seen: %s", early)
		}
		a.at(20.6).fails("cart-1", func(i *incident.Incident) { i.FirstSeen = a.begun.Add(12 * time.Minute) })
		if got := a.at(25).outcome(); got != "relapsed at 12 after 6" {
			t.Error(got)
		}
		a.kill()
	})
}

// TestWhatFailsAfterTheWindowDoesNotCount: also where it is told as part of the delivery before the outcome is decided.
func TestWhatFailsAfterTheWindowDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAftermath(t)
		a.lists = 30 * time.Second
		a.at(6).ends("cart-1", incident.Recovered)
		a.at(14).kill()
		a.at(20).start()
		a.fails("cart-1", func(i *incident.Incident) { i.FirstSeen = a.begun.Add(17 * time.Minute) })
		a.cover(a.call, a.incidents["cart-1"].ID)
		if got := a.at(25).outcome(); got != "recovered at 6, after-task" {
			t.Error(got)
		}
		a.kill()
	})
}

// TestAllIncidentsOfADeliveryCount: one of a storm goes on, and it is not among the first.
func TestAllIncidentsOfADeliveryCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAftermath(t)
		a.at(1)
		var all []*incident.Incident
		covers := []store.DeliveryIncident{}
		for n := range 3 * maxIncidents {
			s := incident.Signal{Key: fmt.Sprint("storm", n), Kind: incident.Observed, Type: incident.OOMKill, At: time.Now().Add(time.Duration(n)), Count: 1, Observation: a.incidents["cart-1"].Observation}
			s.Resource.UID, s.Workload.Name = fmt.Sprint("storm", n), fmt.Sprint("storm", (n+5)%7)
			all = append(all, incident.Open(incident.Origin{}, &s))
			covers = append(covers, store.DeliveryIncident{DeliveryID: a.call.ID, IncidentID: all[n].ID})
			if n < 3*maxIncidents-1 { // the last one, of the last workload, goes on
				all[n].Resolve(incident.Recovered, a.begun.Add(6*time.Minute))
			}
		}
		a.write(func(*store.Tx) *store.Changes { return &store.Changes{Incidents: all, Covers: covers} })
		a.at(6).ends("cart-1", incident.Recovered)
		if got := a.at(30).outcome(); got != "persisting" {
			t.Error(got)
		}
		a.kill()
	})
}

// TestKillsDoNotChangeAnOutcome: whatever happens to the Pods, and however often khook is down meanwhile, the outcome is that of a khook that
// always ran, and what an observer with a notebook would say.
func TestKillsDoNotChangeAnOutcome(t *testing.T) {
	proptest.Check(t, 100, func(rt *rapid.T) {
		flips := rapid.SliceOfNDistinct(rapid.IntRange(1, 20), 1, 6, rapid.ID).Draw(rt, "minutes at which it recovers or fails again")
		slices.Sort(flips)
		downs := rapid.SliceOfNDistinct(rapid.IntRange(0, 24), 0, 4, rapid.ID).Draw(rt, "minutes at which khook restarts")
		var got string
		ok := t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAftermath(t)
				for minute, open := 0, true; minute < 25; minute++ {
					if a.at(float64(minute)); slices.Contains(downs, minute) {
						a.kill()
						a.at(float64(minute) + 0.4).start()
					}
					switch a.at(float64(minute) + 0.5); {
					case !slices.Contains(flips, minute):
						continue
					case open:
						a.ends("cart-1", incident.Recovered)
					default:
						a.fails("cart-1")
						if minute < 5 {
							a.cover(a.call, a.incidents["cart-1"].ID)
						}
					}
					open = !open
				}
				got = string(a.at(60).now(a.call).Outcome)
				a.kill()
			})
		})
		if want := noted(flips); !ok || got != want {
			rt.Fatalf("it turned at %v, khook restarted at %v: %s, want %s", flips, downs, got, want)
		}
	})
}

// noted is what somebody notes who sees all: the agent ends after 5 minutes, the window after 15.
func noted(flips []int) string {
	open, well := true, false
	for _, minute := range flips {
		if open = !open; minute >= 15 {
			open = !open
			break
		}
		switch {
		case !open:
			well = true
		case minute >= 5 && well:
			return string(delivery.OutcomeRelapsed)
		}
	}
	if open {
		return string(delivery.OutcomePersisting)
	}
	return string(delivery.OutcomeRecovered)
}
