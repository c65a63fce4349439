package replay

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/dispatch"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kube"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/store"
)

// controller is the parts of khook that decide who is called, as the leader runs them: each on its own goroutines, on a
// cluster that is reached by HTTP. They run in a bubble of synctest, whose clock stands still until all of them wait.
type controller struct {
	t       *testing.T
	cluster *cluster
	api     kubernetes.Interface // of the cluster
	store   *store.Store
	hooks   *hook.Set
	options Options

	book    *ledger.Ledger
	source  *kube.Source
	stop    context.CancelFunc
	running sync.WaitGroup
	since   time.Time // everything was watched
}

// start is a start of the process: with a time of its own, and what the history has.
func (c *controller) start(at time.Time) {
	ctx, stop := context.WithCancel(c.t.Context())
	c.stop = stop
	var d *dispatch.Dispatcher
	var err, sourceErr error
	c.book, err = ledger.New(ctx, ledger.Config{QuietAfter: c.options.QuietAfter, MaxCallsPerHour: c.options.MaxCallsPerHour, Observe: func(a ledger.Applied) {
		for _, due := range a.Deliveries {
			d.Wake(due.ID)
		}
	}}, c.store, c.hooks)
	c.source, sourceErr = kube.New(kube.Config{
		Client: c.api, Sink: c.book.Record,
		Timing: detect.Timing{
			PendingAfter: c.options.PendingAfter, Stabilization: c.options.Stabilization, QuietAfter: c.options.QuietAfter, CatchUp: c.options.CatchUp, Start: at,
		},
	})
	if err := errors.Join(err, sourceErr); err != nil {
		c.t.Fatal(err)
	}
	d = dispatch.New(dispatch.Config{Follow: true, Shared: c.book.Shared, Refusal: func(d *delivery.Delivery) (delivery.Skip, string) {
		return c.hooks.Refusal(d.Hook, d.HookUID, d.Agent)
	}}, c.store, promptAgents{})
	c.running.Go(func() { _ = d.Run(ctx) })
	c.running.Go(func() { _ = c.source.Run(ctx, c.book.Open()) })
}

// passTo lets time go on. At each time at which something is to be looked at, all that goes on by itself is done first.
func (c *controller) passTo(until, start time.Time) {
	for {
		now := time.Now()
		next, look := now.Add(ledger.ReconsiderEvery-now.Sub(start)%ledger.ReconsiderEvery), c.reconsider
		if at, some := c.book.NextQuiet(c.since); some && at.Before(next) {
			next, look = at, c.endQuiet
		}
		if next.After(until) {
			break
		}
		time.Sleep(next.Sub(now))
		synctest.Wait()
		if since, watched := c.source.WatchedSince(); watched {
			c.since = since
		}
		look()
		synctest.Wait()
	}
	time.Sleep(time.Until(until))
	synctest.Wait()
}

func (c *controller) reconsider() {
	if err := c.book.Reconsider(c.t.Context()); err != nil {
		c.t.Error(err)
	}
}

func (c *controller) endQuiet() {
	if err := c.book.EndQuiet(c.t.Context(), c.since); err != nil {
		c.t.Error(err)
	}
}

// whatHappens runs the controller on a recording, and returns what its history says in the end. restarts are the numbers of
// the records after which khook is stopped and started anew.
func whatHappens(t *testing.T, path string, hooks []*v1alpha2.Hook, o Options, restarts ...int) (story Story) {
	rec, changes := readRecording(t, path), changesOf(t, path)
	file := filepath.Join(t.TempDir(), "history.db")
	synctest.Test(t, func(t *testing.T) {
		set, err := hookSet(rec.Namespace(), hooks, o.Policy)
		history, openErr := store.Open(t.Context(), store.Config{Path: file})
		if err := errors.Join(err, openErr); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(rec.Base.Add(-5 * time.Second))) // it has watched for a while when the recording starts
		c := &controller{t: t, cluster: newCluster(t), store: history, hooks: set, options: o}
		c.api = c.cluster.kubernetes()
		c.start(rec.Base)
		synctest.Wait()
		for i, next := range changes {
			c.passTo(rec.Base.Add(next.t), rec.Base)
			c.cluster.serve(next)
			synctest.Wait()
			for _, after := range restarts {
				if after == i {
					c.stop()
					c.running.Wait()
					c.start(time.Now())
					synctest.Wait()
				}
			}
		}
		c.cluster.leave()
		c.passTo(rec.Base.Add(changes[len(changes)-1].t+o.Settle), rec.Base)
		c.stop()
		c.running.Wait()
		c.cluster.close()
		r := &replay{ctx: t.Context(), base: rec.Base, store: history, hooks: set, holds: newHolds(rec.Base, history)}
		if story, err = r.story("", nil); err != nil {
			t.Error(err)
		}
		if err := history.Close(); err != nil {
			t.Error(err)
		}
	})
	return story
}

func readRecording(t *testing.T, path string) *recording.Recording {
	t.Helper()
	text, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	rec, err := recording.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// whatReplaySays is the same by replay. What is held back is not in it: the history of the controller forgets that.
func whatReplaySays(t *testing.T, path string, hooks []*v1alpha2.Hook, o Options) Story {
	t.Helper()
	rec := readRecording(t, path)
	r, err := newReplay(t.Context(), rec, hooks, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.play(rec, o); err != nil {
		t.Fatal(err)
	}
	r.holds.told = nil
	story, err := r.story("", nil)
	if err != nil {
		t.Fatal(err)
	}
	return story
}

// differ compares two stories. Calls that are due at once are made in any order.
func differ(happened, replayed Story) string {
	for _, s := range []Story{happened, replayed} {
		slices.SortFunc(s.Deliveries, func(a, b Delivery) int {
			return cmp.Or(cmp.Compare(a.DueAt, b.DueAt), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Prompt, b.Prompt))
		})
		slices.SortFunc(s.NotCalled, func(a, b NotCalled) int {
			return cmp.Or(cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.At, b.At))
		})
	}
	return gocmp.Diff(happened, replayed)
}

// recordings are all that there are.
func recordings(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, folder := range []string{cases, "../../test/recordings"} {
		found, err := filepath.Glob(filepath.Join(folder, "*.jsonl"))
		if err != nil || len(found) == 0 {
			t.Fatal(folder, err)
		}
		all = append(all, found...)
	}
	return all
}

// signSoonAfter says whether a sign that a problem goes on is due right after the end of a recording. There the controller
// still takes its watch for one that was only opened anew, and tells it; a replay knows better.
func signSoonAfter(t *testing.T, path string, o Options) bool {
	t.Helper()
	rec := readRecording(t, path)
	last := rec.Records[len(rec.Records)-1]
	end := last.T
	last.T += 10 * time.Second
	rec.Records = append(rec.Records, last)
	soon := false
	timing := detect.Timing{PendingAfter: o.PendingAfter, Stabilization: o.Stabilization, QuietAfter: o.QuietAfter, CatchUp: o.CatchUp}
	err := detect.Play(rec, timing, 0, func(now time.Time, signals []incident.Signal) error {
		for _, s := range signals {
			soon = soon || now.After(rec.Base.Add(end)) && (s.Kind == incident.Ongoing || s.Kind == incident.Unheard)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return soon
}

// everythingBut is everything, with another configuration for each event type.
func everythingBut(edit func(*v1alpha2.EventConfiguration)) *v1alpha2.Hook {
	h := everything()
	for i := range h.Spec.EventConfigurations {
		edit(&h.Spec.EventConfigurations[i])
	}
	return h
}

// TestReplayIsTheController runs the controller on each recording, and replays it.
func TestReplayIsTheController(t *testing.T) {
	for _, way := range []struct {
		name string
		hook *v1alpha2.Hook
		Options
	}{
		{"as it is", everything(), Options{Settle: 15 * time.Minute}},
		{"all wait", everythingBut(func(c *v1alpha2.EventConfiguration) { c.GroupWait = lasting(150137 * time.Millisecond) }), Options{Settle: 15 * time.Minute}},
		{"held back by a budget", everythingBut(func(c *v1alpha2.EventConfiguration) {
			c.DedupWindow, c.MaxCallsPerHour = lasting(time.Second), new(int32(1))
		}), Options{QuietAfter: 3 * time.Hour, Settle: 90 * time.Minute}},
		{"held back by the loop guard", everythingBut(func(c *v1alpha2.EventConfiguration) { c.DedupWindow = lasting(10 * time.Second) }), Options{QuietAfter: time.Hour, Settle: 30 * time.Minute}},
	} {
		for _, path := range recordings(t) {
			t.Run(way.name+"/"+nameOf(path), func(t *testing.T) {
				t.Parallel()
				if diff := isTheController(t, path, []*v1alpha2.Hook{way.hook}, way.Options); diff != "" {
					t.Errorf("- the controller, + replay\n%s", diff)
				}
			})
		}
	}
}

// isTheController compares what the controller did to what replay says, "" if that is the same.
func isTheController(t *testing.T, path string, hooks []*v1alpha2.Hook, o Options) string {
	t.Helper()
	o.Policy = hook.Policy{AgentNamespaces: []string{"kagent"}}
	if signSoonAfter(t, path, o) {
		o.Settle = 0
	}
	return differ(whatHappens(t, path, hooks, o), whatReplaySays(t, path, hooks, o))
}

// optional draws a value, or none.
func optional[T any](t *rapid.T, of *rapid.Generator[T], label string) *T {
	if !rapid.Bool().Draw(t, "with "+label) {
		return nil
	}
	return new(of.Draw(t, label))
}

// odd are durations that end at no time at which something else does: what comes at the same moment has no order.
func odd(from, to time.Duration) *rapid.Generator[metav1.Duration] {
	return rapid.Map(rapid.Int64Range(int64(from/time.Second), int64(to/time.Second)), func(n int64) metav1.Duration {
		return metav1.Duration{Duration: time.Duration(n)*time.Second + 137*time.Millisecond}
	})
}

// someConfiguration is about any event type, with any of the fields that say whom it is about and when it calls.
func someConfiguration(t *rapid.T) v1alpha2.EventConfiguration {
	agent := rapid.SampledFrom([]string{"kagent/medic", "kagent/sre"}).Draw(t, "agent")
	return v1alpha2.EventConfiguration{
		EventType:   string(rapid.SampledFrom(incident.EventTypes()).Draw(t, "event type")),
		AgentId:     &agent,
		Prompt:      "{{.EventMessage}} exit={{.ExitCode}} restarts={{.RestartCount}} count={{.Count}} reason={{.Reason}} at {{.EventTime}}",
		GroupWait:   optional(t, odd(0, 4*time.Minute), "groupWait"),
		DedupWindow: optional(t, odd(time.Second, 5*time.Minute), "dedupWindow"),
		GroupBy:     rapid.SampledFrom([]v1alpha2.GroupBy{"", v1alpha2.GroupByWorkload, v1alpha2.GroupByResource, v1alpha2.GroupByNode}).Draw(t, "groupBy"),
		Match:       rapid.SampledFrom([]string{"", "", "event.exitCode != 137", "event.restartCount >= 2", "event.count >= 2"}).Draw(t, "match"),
		Selector: rapid.SampledFrom([]*metav1.LabelSelector{
			nil, nil, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}},
			{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpDoesNotExist}}},
		}).Draw(t, "selector"),
		MaxCallsPerHour: optional(t, rapid.Int32Range(1, 3), "maxCallsPerHour"),
		EvenIfRecovered: rapid.Bool().Draw(t, "evenIfRecovered"),
	}
}

func someHook(t *rapid.T) *v1alpha2.Hook {
	h := &v1alpha2.Hook{}
	h.Name = rapid.StringMatching("[a-z]{3}").Draw(t, "name")
	h.UID = types.UID(h.Name)
	h.Spec.Suspend = rapid.IntRange(0, 9).Draw(t, "suspended if 0") == 0
	h.Spec.OnePerCause = optional(t, rapid.Bool(), "onePerCause")
	h.Spec.MaxCallsPerHour = optional(t, rapid.Int32Range(1, 4), "maxCallsPerHour of all")
	h.Spec.EventConfigurations = rapid.SliceOfN(rapid.Custom(someConfiguration), 1, 4).Draw(t, "configurations")
	return h
}

func someOptions(t *rapid.T) Options {
	return Options{
		PendingAfter:    odd(20*time.Second, 2*time.Minute).Draw(t, "pending after").Duration,
		Stabilization:   odd(10*time.Second, 3*time.Minute).Draw(t, "stabilization").Duration,
		QuietAfter:      odd(5*time.Minute, 3*time.Hour).Draw(t, "quiet after").Duration,
		MaxCallsPerHour: rapid.IntRange(0, 3).Draw(t, "calls of all Hooks"),
		Settle:          odd(0, 100*time.Minute).Draw(t, "settle").Duration,
	}
}

// TestReplayIsTheControllerForAnyHook draws Hooks and options: what the controller would do is what replay says, whatever
// waits, is grouped, held back, or recovers before its call.
func TestReplayIsTheControllerForAnyHook(t *testing.T) {
	all := recordings(t)
	proptest.Check(t, 100, func(rt *rapid.T) {
		path := rapid.SampledFrom(all).Draw(rt, "recording")
		hooks := rapid.SliceOfNDistinct(rapid.Custom(someHook), 1, 2, func(h *v1alpha2.Hook) string { return h.Name }).Draw(rt, "hooks")
		if diff := isTheController(t, path, hooks, someOptions(rt)); diff != "" {
			rt.Fatalf("- the controller, + replay\n%s", diff)
		}
	})
}

// TestARestartOfKhookChangesNoCall stops khook after any record and starts it anew: replay, which knows of no restart, still
// says who is called for what. What is only a sign that a failure goes on is told again some time after a start: a call for
// that may come by that much earlier or later.
func TestARestartOfKhookChangesNoCall(t *testing.T) {
	const signs = 4 * time.Minute
	all := recordings(t)
	proptest.Check(t, 100, func(rt *rapid.T) {
		path := rapid.SampledFrom(all).Draw(rt, "recording")
		records := len(readRecording(t, path).Records)
		restart := rapid.IntRange(0, records-1).Draw(rt, "restart after record")
		hooks := []*v1alpha2.Hook{everythingBut(func(c *v1alpha2.EventConfiguration) {
			c.GroupWait = optional(rt, odd(0, 4*time.Minute), "groupWait")
			c.GroupBy = rapid.SampledFrom([]v1alpha2.GroupBy{"", v1alpha2.GroupByResource, v1alpha2.GroupByNode}).Draw(rt, "groupBy")
			c.EvenIfRecovered = rapid.Bool().Draw(rt, "evenIfRecovered")
		})}
		o := Options{Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}, Settle: 15 * time.Minute}
		if signSoonAfter(t, path, o) {
			o.Settle = 0
		}
		want, got := whatReplaySays(t, path, hooks, o), whatHappens(t, path, hooks, o, restart)
		last := readRecording(t, path).Records[records-1].T
		made, said := whom(got), whom(want)
		if diff := gocmp.Diff(but(made, said, signs, last, last+o.Settle), but(said, made, signs, last, last+o.Settle), cmpopts.EquateApprox(0, signs.Seconds())); diff != "" {
			rt.Fatalf("- the controller, + replay\n%s", diff)
		}
	})
}

// but leaves out the calls right before a change, such as the last record, by which a failure may recover, or the end of what is looked at: in the
// others the sign that they are made by may have come after it.
func but(calls, others []call, signs time.Duration, changes ...time.Duration) []call {
	return slices.DeleteFunc(slices.Clone(calls), func(c call) bool {
		return slices.ContainsFunc(changes, func(at time.Duration) bool { return c.At <= at.Seconds() && c.At > (at-signs).Seconds() }) && !slices.ContainsFunc(others, func(o call) bool {
			apart := math.Abs(o.At - c.At)
			o.At = c.At
			return o == c && apart <= signs.Seconds()
		})
	})
}

// call is who is called for what, and when.
type call struct {
	Hook, EventType, Group, Agent string
	At                            float64
	Not                           string // why not
}

func whom(s Story) []call {
	var calls []call
	for _, d := range s.Deliveries {
		calls = append(calls, call{d.Hook, d.EventType, d.Group, d.Agent, d.At, ""})
	}
	for _, n := range s.NotCalled {
		calls = append(calls, call{n.Hook, n.EventType, n.Group, n.Agent, n.At, n.Reason})
	}
	slices.SortFunc(calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Group, b.Group), cmp.Compare(a.At, b.At))
	})
	return calls
}

// TestReplaySeesWhatTheControllerSees: of a Pod with more labels than khook looks at, a selector for one of the others is
// about nothing, for both.
func TestReplaySeesWhatTheControllerSees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "labels.jsonl")
	text, err := os.ReadFile(filepath.Join(cases, "13-oom-once-then-fine.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var labels strings.Builder
	for i := range 200 {
		fmt.Fprintf(&labels, `"l%03d":"x",`, i)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(`"labels": {`), []byte(`"labels": {`+labels.String())), 0o600); err != nil {
		t.Fatal(err)
	}
	for label, calls := range map[string]int{"l001": 1, "l199": 0} {
		hooks := []*v1alpha2.Hook{oneAgent("oom-kill", func(_ *v1alpha2.Hook, c *v1alpha2.EventConfiguration) {
			c.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{label: "x"}}
		})}
		if diff := isTheController(t, path, hooks, Options{}); diff != "" {
			t.Errorf("- the controller, + replay\n%s", diff)
		}
		if n := len(whatReplaySays(t, path, hooks, Options{Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}}).Deliveries); n != calls {
			t.Errorf("%d calls by label %s, want %d", n, label, calls)
		}
	}
}
