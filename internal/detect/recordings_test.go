package detect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
)

const recordings = "../../test/recordings"

// readRecording reads one of the recordings of a real cluster.
func readRecording(t testing.TB, name string) *recording.Recording {
	t.Helper()
	f, err := os.Open(filepath.Join(recordings, name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rec
}

// recordingNames lists all recordings.
func recordingNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(recordings, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings in %s (%v)", recordings, err)
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(p), ".jsonl")
	}
	return names
}

// everyRecording lists all recordings, and what was made of what people reported.
func everyRecording(t testing.TB) []string {
	t.Helper()
	names := recordingNames(t)
	paths, err := filepath.Glob(filepath.Join(recordings, "../cases/*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, path := range paths {
		names = append(names, "../cases/"+strings.TrimSuffix(filepath.Base(path), ".jsonl"))
	}
	return names
}

// play collects all signals of a recording.
func play(t testing.TB, rec *recording.Recording) []incident.Signal {
	t.Helper()
	var all []incident.Signal
	err := Play(rec, Timing{}, 15*time.Minute, func(_ time.Time, signals []incident.Signal) error {
		all = append(all, signals...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// expectation is what was told about one slot of one Pod.
type expectation struct {
	line     string
	observed int
	causes   map[string]bool
	ends     []string
}

// summaries tells what a user would notice: a line for each type, Pod and container, with how often
// it was observed, by what it was caused, and how it ended.
func summaries(signals []incident.Signal) []string {
	var order []*expectation
	slots := map[incident.ProblemKey]*expectation{}
	for _, s := range signals {
		switch s.Kind {
		case incident.Gone:
			for slot, w := range slots {
				if slot.UID == s.Resource.UID {
					w.ends = append(w.ends, "gone")
				}
			}
			continue
		case incident.Ongoing:
			continue
		}
		w := slots[s.ProblemKey()]
		if w == nil {
			w = &expectation{line: strings.TrimRight(fmt.Sprintf("%s %s %s", s.Type, s.Resource.Name, s.Container), " "), causes: map[string]bool{}}
			slots[s.ProblemKey()] = w
			order = append(order, w)
		}
		if s.Kind == incident.Healthy {
			w.ends = append(w.ends, "healthy")
			continue
		}
		w.observed++
		for _, c := range s.Causes {
			w.causes[string(c)] = true
		}
	}
	lines := make([]string, 0, len(order))
	for _, w := range order {
		lines = append(lines, w.String())
	}
	return lines
}

func (w *expectation) String() string {
	s := fmt.Sprintf("%s x%d", w.line, w.observed)
	if len(w.causes) > 0 {
		var causes []string
		for c := range w.causes {
			causes = append(causes, c)
		}
		slices.Sort(causes)
		s += " by " + strings.Join(causes, ",")
	}
	if len(w.ends) > 0 {
		s += " then " + strings.Join(w.ends, ",")
	}
	return s
}

func TestRecordingsOfARealClusterGiveTheRightAnswer(t *testing.T) {
	want := map[string][]string{
		"config-missing": {"pod-pending config-missing x1 then healthy"},
		"crash-exit1": {
			"pod-restart crash-exit1-559bb6b65b-9m6kf app x5 then gone",
			"pod-restart crash-exit1-559bb6b65b-s8kfm app x5 then gone",
		},
		"crash-once-then-recover": {"pod-restart crash-once-then-recover app x1 then healthy"},
		"exit0-always":            {"pod-restart exit0-always app x6"},
		"healthy":                 {},
		"init-fail": {
			"pod-restart init-fail migrate x6",
			"pod-pending init-fail x1 by oom-kill,pod-restart",
		},
		"job-fail": {},
		"liveness-fail": {
			"probe-failed liveness-fail app x6 then gone",
			"pod-restart liveness-fail app x6 by probe-failed then gone",
		},
		"oom-child": {},
		"oom-hog": {
			"oom-kill oom-hog-8448b4f6c8-vs899 hog x6 then gone",
			"pod-restart oom-hog-8448b4f6c8-vs899 hog x5 by oom-kill then gone",
		},
		"readiness-fail":    {"probe-failed readiness-fail app x9"},
		"run-once-done":     {},
		"unschedulable-cpu": {"pod-pending unschedulable-cpu x1 then gone"},
		"volume-missing":    {"pod-pending volume-missing x1 then healthy"},
	}
	for _, name := range recordingNames(t) {
		t.Run(name, func(t *testing.T) {
			right, ok := want[name]
			if !ok {
				t.Fatal("this recording has no right answer in the table")
			}
			if diff := cmp.Diff(right, summaries(play(t, readRecording(t, name)))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// keys are those of the observed signals, in order.
func keys(signals []incident.Signal) []string {
	var all []string
	for _, s := range signals {
		if s.Kind == incident.Observed {
			all = append(all, s.Key)
		}
	}
	return all
}

func TestARecordingHasTheSameKeysEachTimeAndNoneTwice(t *testing.T) {
	for _, name := range everyRecording(t) {
		t.Run(name, func(t *testing.T) {
			first := keys(play(t, readRecording(t, name)))
			second := keys(play(t, readRecording(t, name)))
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("the second time (-first +second)\n%s", diff)
			}
			once := slices.Compact(slices.Sorted(slices.Values(first)))
			if len(once) != len(first) {
				t.Errorf("%d signals have only %d keys", len(first), len(once))
			}
		})
	}
}

// playFrom feeds a recording to a detector that starts at record n: it lists the newest version of
// what exists then, and watches the rest.
func playFrom(rec *recording.Recording, n int, seed []*incident.Incident) []incident.Signal {
	now := rec.Base.Add(rec.Records[n].T)
	d := New(Timing{Start: now})
	d.Seed(seed)
	newest, order := map[string]recording.Record{}, []string{}
	for _, r := range rec.Records[:n] {
		uid := uidOf(r)
		if _, known := newest[uid]; !known {
			order = append(order, uid)
		}
		newest[uid] = r
	}
	var signals []incident.Signal
	uids := map[string]bool{}
	list := func(pods bool) {
		for _, uid := range order {
			if r := newest[uid]; (r.Pod != nil) == pods && r.Type != watch.Deleted {
				uids[uid] = pods
				signals = append(signals, feed(r, d, now, true)...)
			}
		}
	}
	list(true)
	signals = append(signals, d.Listed(now, "", uids)...)
	list(false)
	for _, r := range rec.Records[n:] {
		until := rec.Base.Add(r.T)
		for due, ok := d.Next(); ok && !due.After(until); due, ok = d.Next() {
			signals = append(signals, d.Tick(due)...)
		}
		signals = append(signals, feed(r, d, until, false)...)
	}
	d.SetLive(false)
	end := rec.Base.Add(rec.Records[len(rec.Records)-1].T + 15*time.Minute) // as in play
	for due, ok := d.Next(); ok && !due.After(end); due, ok = d.Next() {
		signals = append(signals, d.Tick(due)...)
	}
	return signals
}

func uidOf(r recording.Record) string {
	if r.Pod != nil {
		return string(r.Pod.UID)
	}
	return string(r.Event.UID)
}

func feed(r recording.Record, d *Detector, now time.Time, catchUp bool) []incident.Signal {
	if r.Pod != nil {
		return d.Pod(now, r.Type, r.Pod, catchUp)
	}
	return d.Event(now, r.Type, r.Event, catchUp)
}

// A khook that starts in the middle must not tell anew, under another key, what one that ran all
// the time has told; and must not lose what comes after its start.
func TestAStartInTheMiddleTellsNothingAnewAndLosesNothing(t *testing.T) {
	for _, name := range everyRecording(t) {
		t.Run(name, func(t *testing.T) {
			rec := readRecording(t, name)
			whole := map[string]incident.Signal{}
			for _, s := range play(t, rec) {
				whole[s.Key] = s
			}
			for n := range rec.Records {
				now := rec.Base.Add(rec.Records[n].T)
				found := map[string]bool{}
				for _, s := range playFrom(rec, n, nil) {
					if s.Kind != incident.Observed {
						continue
					}
					if _, ok := whole[s.Key]; !ok {
						t.Errorf("started at record %d, it tells %s (%s), which is no key of the whole", n, s.Key, s.Message)
					}
					found[s.Key] = true
				}
				for key, s := range whole {
					if s.Kind == incident.Observed && !s.At.Before(now) && !found[key] {
						t.Errorf("started at record %d (%s), it loses %s of %s: %s", n, now, key, s.At, s.Message)
					}
				}
			}
		})
	}
}
