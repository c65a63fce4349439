package system

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// TestKilledAtAnyMomentNothingIsLostAndNobodyIsCalledTwice ends khook at random moments, with SIGKILL
// or SIGTERM, while Pods fail without a pause and agents work, and starts it again.
func TestKilledAtAnyMomentNothingIsLostAndNobodyIsCalledTwice(t *testing.T) {
	random := chance(t)
	dialects, stops := triedDialects(random), 500/len(agent.Dialects())
	if !torture.full {
		stops = 12
	}
	t.Run("speaking", func(t *testing.T) {
		for _, dialect := range dialects {
			seed := random.Uint64()
			t.Run(dialect, func(t *testing.T) {
				t.Parallel()
				n := max(1, stops/torture.every)
				st := newStorm(t, dialect, atRandom, rand.New(rand.NewPCG(seed, 0)))
				st.khook.kill()
				// khook is hardly ever up for long enough to see that a Pod is well again, until the last stop.
				st.window = 30*time.Second + time.Duration(n)*3*time.Second
				st.args = append(st.args, "--verify-window", st.window.String())
				st.khook = controller(t, st.args...)
				st.endure(n)
				tortureReport.result(st.judge())
			})
		}
	})
}

// storm is a cluster in which Pods fail without a pause, and khook is stopped again and again.
type storm struct {
	t      testing.TB
	random *rand.Rand
	res    result
	kagent *kagenttest.Server
	ns     string
	file   string // of the history
	args   []string
	khook  *process
	failed []string      // workloads, of one Pod each
	window time.Duration // after which an outcome is decided
	names  []string      // what workloads' names begin with, one of them each
}

// newStorm makes a storm; fault is atRandom or amidst.
func newStorm(t testing.TB, dialect, fault string, random *rand.Rand) *storm {
	t.Helper()
	s := &storm{t: t, random: random, ns: namespace(t), names: []string{"w"}, res: result{trial: trial{dialect: dialect, fault: fault}, reached: true}}
	s.kagent = kagenttest.New(t, kagenttest.Options{Dialect: dialect, Cancels: fault == amidst, Script: func(m kagenttest.Message) kagenttest.Act {
		return asWorkload(m, kagenttest.Act{Work: time.Duration(rand.IntN(400)) * time.Millisecond, Answer: "done"})
	}})
	h := applyHook(t, s.ns, "shop", incident.OOMKill, incident.PodRestart)
	for i := range h.Spec.EventConfigurations { // khook may be down for longer than a Pod
		h.Spec.EventConfigurations[i].EvenIfRecovered = true
	}
	if err := testCluster.client.Update(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s.file = filepath.Join(dir, "khook.db")
	s.args = append(settings(s.kagent, dir), "--namespaces", s.ns, "--stabilization", "1s", "--agent-check-every", "1h", "--log-level", "info")
	s.khook = controller(t, s.args...)
	return s
}

// endure stops khook so many times while Pods fail, at the pace of ten a second; some fail while khook
// is down.
func (s *storm) endure(stops int) {
	for range stops {
		moment := time.Now().Add(time.Duration(s.random.IntN(900)) * time.Millisecond)
		for left := time.Until(moment); left > 0; left = time.Until(moment) {
			s.failOne()
			time.Sleep(min(100*time.Millisecond, time.Until(moment))) // this is the moment, not a condition
		}
		s.stopOnce()
		if s.random.IntN(2) == 0 {
			s.failOne()
		}
		s.khook = controller(s.t, s.args...)
		s.res.runs++
	}
}

// failOne lets the Pod of a new workload be OOM-killed once, and run again.
func (s *storm) failOne() {
	workload := fmt.Sprint(s.names[s.random.IntN(len(s.names))], len(s.failed))
	becomes(s.t, newPod(s.t, s.ns, workload, workload+"-1"), 1, "OOMKilled")
	s.failed = append(s.failed, workload)
}

// stopOnce ends khook with one of the signals. One that was told to end, and had begun, ends well.
func (s *storm) stopOnce() {
	if s.random.IntN(2) == 0 {
		s.khook.kill()
		return
	}
	_ = s.khook.cmd.Process.Signal(syscall.SIGTERM)
	<-s.khook.done
	log := s.khook.log.String()
	if code := s.khook.cmd.ProcessState.ExitCode(); code != 0 && strings.Contains(log, "khook starts") {
		s.t.Errorf("khook ended with %d when it was told to: %s", code, tail(log, 1500))
	}
}

// judge waits until all is over and holds the history against what was done to the Pods.
func (s *storm) judge() result {
	t := s.t
	var deliveries []*delivery.Delivery
	err := poll(6*time.Minute+s.window, 200*time.Millisecond, func() error {
		deliveries = readDeliveries(t, s.file)
		for _, d := range deliveries {
			if d.State != delivery.Succeeded || d.Outcome != delivery.OutcomeRecovered {
				return fmt.Errorf("delivery of %s is %s %s: %s", d.Group, d.State, d.Outcome, d.Error)
			}
		}
		return mustEqual(len(deliveries), len(s.failed), "deliveries")
	})
	if err != nil {
		t.Errorf("waited in vain until all outcomes are known: %v", err)
	}
	s.khook.kill()
	for _, d := range deliveries {
		if n := s.kagent.Executions(d.MessageID()); n != 1 {
			t.Errorf("the agent ran the message of %s %d times", d.Group, n)
		}
	}
	calls := len(s.kagent.Messages())
	if calls != len(s.failed) || len(deliveries) != len(s.failed) {
		t.Errorf("%d deliveries and %d calls for %d workloads", len(deliveries), calls, len(s.failed))
	}
	got := checkHistory(t, s.file, s.ns, map[incident.EventType]int{incident.OOMKill: len(s.failed), incident.PodRestart: len(s.failed)})
	s.res.lost, s.res.doubled = max(0, 2*len(s.failed)-got), max(0, calls-len(s.failed))
	s.res.failed = t.Failed()
	s.res.differs = s.res.failed
	t.Logf("%d stops, %d Pods failed, %d calls, %d incidents", s.res.runs, len(s.failed), calls, got)
	return s.res
}

func openHistory(t testing.TB, path string) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, path), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func readDeliveries(t testing.TB, path string) []*delivery.Delivery {
	t.Helper()
	st := openHistory(t, path)
	defer st.Close()
	all, err := st.AllDeliveries(t.Context(), 100_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkHistory holds the history of a namespace against what really happened: one incident with
// one event for each Pod and type. It returns how many incidents there are.
func checkHistory(t testing.TB, path, ns string, want map[incident.EventType]int) (incidents int) {
	t.Helper()
	st := openHistory(t, path)
	defer st.Close()
	all, err := st.AllIncidents(t.Context(), 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	got, seen := map[incident.EventType]int{}, map[string]bool{}
	for _, inc := range all {
		if inc.Resource.Namespace != ns {
			continue
		}
		got[inc.Type]++
		slot := string(inc.Type) + "/" + inc.Resource.Name
		if seen[slot] || inc.Events != 1 {
			t.Errorf("%s has %d events, or is there twice", slot, inc.Events)
		}
		seen[slot] = true
		events, err := st.IncidentEvents(t.Context(), inc.ID, 10)
		if err != nil || len(events) != 1 {
			t.Errorf("%s: %d events, %v", slot, len(events), err)
		}
	}
	for et, n := range want {
		if got[et] != n {
			t.Errorf("%d incidents of %s, want %d", got[et], et, n)
		}
		incidents += got[et]
	}
	return incidents
}
