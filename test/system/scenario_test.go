package system

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// scene is what happens in the cluster, always the same.
type scene struct {
	name    string
	pods    map[string]string // their workloads
	agent   func(*scenario, kagenttest.Message) kagenttest.Act
	play    func(*scenario) // up to where all that is left is to wait for the last outcome
	people  bool            // a person answers the agents, and cancels what works for ever
	flags   []string        // of khook
	comesTo sums
}

// sums are how many events, incidents and deliveries a scene comes to.
type sums struct{ events, incidents, deliveries int }

// failures is the scene in which Pods of three workloads fail, one of them again, agents are called, the Pods become healthy, and the
// agents finish.
var failures = &scene{
	name: "failures", pods: map[string]string{"cart1": "cart", "pay1": "pay", "web1": "web", "web2": "web"}, agent: (*scenario).medic,
	play: (*scenario).playFailures, flags: []string{"--verify-window", "30s", "--api-bind-address", "0"}, comesTo: sums{8, 7, 3},
}

// scenario is a scene that is played. Only khook is disturbed, and what it talks to changed.
type scenario struct {
	*scene
	t       testing.TB
	ns, dir string
	hook    *v1alpha2.Hook
	kagent  *kagenttest.Server
	notices *receiver
	running map[string]*corev1.Pod
	tend    func()        // sees to khook while the scene waits
	back    func()        // undoes a change that would hide for ever what came before it
	healed  chan struct{} // closed when the Pods are healthy
	vain    []string      // what was waited for in vain
	// How long is waited for each thing, if that is more than longEnough.
	patience time.Duration
}

// longEnough is how long the scene waits for what must happen. A call that may have arrived is looked
// for, leadership has to be taken over: some seconds.
const longEnough = time.Minute

func newScenario(t testing.TB, sc *scene, dialect, fault string) *scenario {
	t.Helper()
	s := &scenario{scene: sc, t: t, ns: namespace(t), dir: t.TempDir(), running: map[string]*corev1.Pod{}, healed: make(chan struct{}), tend: func() {}, back: func() {}}
	s.kagent = kagenttest.New(t, kagenttest.Options{
		Dialect: dialect, Cancels: sc.people, TrustedProxy: fault == otherToken,
		Script: func(m kagenttest.Message) kagenttest.Act { return sc.agent(s, m) },
	})
	s.notices = newReceiver(t, s.dir)
	s.hook = applyHook(t, s.ns, "shop", incident.OOMKill, incident.PodRestart)
	for name, workload := range sc.pods {
		s.running[name] = newPod(t, s.ns, workload, name)
		becomes(t, s.running[name], 0, "")
	}
	return s
}

// medic works until the Pods are healthy, or only a moment.
func (s *scenario) medic(m kagenttest.Message) kagenttest.Act {
	switch {
	case strings.Contains(m.Text, "/cart"):
		return kagenttest.Act{Until: s.healed, Answer: "cart has more memory now"}
	case strings.Contains(m.Text, "/pay"):
		return kagenttest.Act{Until: s.healed, Chunks: []string{"pay crashed, ", "and runs again"}}
	default:
		return kagenttest.Act{Work: 300 * time.Millisecond, Answer: "looked at web"}
	}
}

// playAll lets it all happen, to the last outcome.
func (s *scenario) playAll() {
	s.play(s)
	s.back()
	s.await("all outcomes are known", s.inHistory(s.final))
	s.told()
}

func (s *scenario) playFailures() {
	s.crashes("cart1", 1, "OOMKilled")
	s.crashes("pay1", 1, "Error")
	s.crashes("web1", 1, "OOMKilled")
	s.await("an agent is called for each workload", s.inHistory(s.called))
	s.crashes("pay1", 2, "Error") // khook has the first: a Pod's status shows the newest only
	s.crashes("web2", 1, "OOMKilled")
	s.await("all is recorded", s.inHistory(func(h *historyText) error { return mustEqual(h.events, s.comesTo.events, "events") }))
	s.recover()
	close(s.healed)
}

// over says whether the Pods are healthy again.
func (s *scenario) over() bool {
	select {
	case <-s.healed:
		return true
	default:
		return false
	}
}

// recover lets all Pods run again.
func (s *scenario) recover() {
	for _, p := range s.running {
		restarts := int(p.Status.ContainerStatuses[0].RestartCount)
		becomes(s.t, p, restarts, p.Status.ContainerStatuses[0].LastTerminationState.Terminated.Reason)
	}
}

// called says whether each workload's agent is called, or never will be.
func (s *scenario) called(h *historyText) error {
	called := map[string]bool{}
	for _, m := range s.kagent.Messages() {
		if !m.Reply {
			called[m.ID] = true
		}
	}
	for _, d := range h.deliveries {
		if notKnown(d) {
			called[d.MessageID()] = true
		}
	}
	return mustEqual(len(called), s.comesTo.deliveries, "messages")
}

// told waits until the Hook's status tells of all incidents, and that none is open.
func (s *scenario) told() {
	s.await("the Hook tells that all is well again", func() error {
		st := hookNow(s.t, s.hook).Status
		if st.Active != 0 || len(st.ActiveEvents) != s.comesTo.incidents {
			return fmt.Errorf("%d active, %d events", st.Active, len(st.ActiveEvents))
		}
		return nil
	})
	s.await("people are told of all outcomes", s.inHistory(s.notices.ofAllOutcomes))
}

func mustEqual(got, want int, what string) error {
	if got < want {
		return fmt.Errorf("%d %s, want %d", got, what, want)
	}
	return nil
}

// crashes writes the status of a Pod whose container ended and waits to be started again.
func (s *scenario) crashes(name string, restarts int, reason string) {
	s.t.Helper()
	p := s.running[name]
	setStatus(p, restarts, reason)
	c := &p.Status.ContainerStatuses[0]
	c.Ready, c.Started = false, new(bool)
	c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	p.Status.Conditions[0].Status = corev1.ConditionFalse
	if err := testCluster.client.Status().Update(s.t.Context(), p); err != nil {
		s.t.Fatal(err)
	}
}

// await waits for what must happen. If it does not, the scene goes on: the history tells more.
func (s *scenario) await(what string, check func() error) {
	if len(s.vain) > 0 {
		return
	}
	err := poll(max(s.patience, longEnough), 20*time.Millisecond, func() error {
		s.tend()
		return check()
	})
	if err != nil {
		s.vain = append(s.vain, fmt.Sprintf("waited in vain until %s: %v", what, err))
	}
}

// inHistory is a check of the history, made now and then.
func (s *scenario) inHistory(check func(*historyText) error) func() error {
	var looked time.Time
	var verdict error
	return func() error {
		if time.Since(looked) < 200*time.Millisecond {
			return verdict
		}
		h, err := s.read()
		if err == nil {
			err = check(h)
		}
		looked, verdict = time.Now(), err
		return err
	}
}

// historyText is what khook recorded, without what differs from run to run: numbers, times, attempts.
type historyText struct {
	lines      []string
	events     int
	incidents  map[string]*incident.Incident // by type and Pod
	deliveries []*delivery.Delivery
}

// well says what still fails.
func (s *scenario) well(h *historyText) error {
	for name, inc := range h.incidents {
		if inc.Open() {
			return fmt.Errorf("%s is open", name)
		}
	}
	return mustEqual(len(h.incidents), s.comesTo.incidents, "incidents")
}

// final says what is not over yet.
func (s *scenario) final(h *historyText) error {
	if err := s.well(h); err != nil {
		return err
	}
	for _, d := range h.deliveries {
		if !d.State.Ended() || !d.VerifyUntil.IsZero() && d.Outcome == "" {
			return fmt.Errorf("delivery of %s is %s: %s", d.Group, d.State, d.Error)
		}
	}
	return mustEqual(len(h.deliveries), s.comesTo.deliveries, "deliveries")
}

// read reads the history from its file.
func (s *scenario) read() (*historyText, error) {
	file := filepath.Join(s.dir, "khook.db")
	st, err := store.Open(s.t.Context(), store.Config{Engine: pgtest.Engine(s.t, file), Path: file})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	h := &historyText{incidents: map[string]*incident.Incident{}}
	if err := s.readIncidents(st, h); err != nil {
		return nil, err
	}
	if h.deliveries, err = st.AllDeliveries(s.t.Context(), 1000); err != nil {
		return nil, err
	}
	for _, d := range h.deliveries {
		h.add("%s: %s %s, answer %q, error %q, outcome %s, prompt %q", h.whose(d), d.State, d.TaskState, d.Answer, d.Error, d.Outcome, d.Prompt)
	}
	slices.Sort(h.lines)
	return h, nil
}

// whose is how the line of a delivery begins.
func (h *historyText) whose(d *delivery.Delivery) string {
	return fmt.Sprintf("delivery %s %s for %s, scheduled by %s, to %s", d.Hook.Name, d.Config, d.Group, h.nameOf(d.IncidentID), d.Agent)
}

func (h *historyText) add(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func (s *scenario) readIncidents(st *store.Store, h *historyText) error {
	all, err := st.AllIncidents(s.t.Context(), 1000)
	if err != nil {
		return err
	}
	for _, inc := range all {
		name := fmt.Sprintf("%s of %s", inc.Type, inc.Resource.Name)
		if h.incidents[name] != nil {
			name += " again"
		}
		h.incidents[name] = inc
	}
	for name, inc := range h.incidents {
		pod := inc.Attributes.PodOrZero()
		h.add("incident %s (%s, %s): %s, caused by %q, %d events, %d repeats, restart %d, exit %s, %s: %s", name, inc.Container, inc.Workload,
			inc.Resolution, h.nameOf(inc.CausedBy), inc.Events, inc.Duplicates, pod.RestartCount, exitCodeText(pod.ExitCode), inc.Reason, inc.Message)
		if err := s.readEvents(st, h, name, inc); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) readEvents(st *store.Store, h *historyText, name string, inc *incident.Incident) error {
	events, err := st.IncidentEvents(s.t.Context(), inc.ID, 100)
	if err != nil {
		return err
	}
	decisions, err := st.Reader().IncidentDecisions(s.t.Context(), inc.ID, 100)
	if err != nil {
		return err
	}
	h.events += len(events)
	for _, e := range events {
		pod := e.Attributes.PodOrZero()
		what := fmt.Sprintf("%s, restart %d", name, pod.RestartCount)
		h.add("event %s: %s, exit %s, %s: %s, %d times", what, e.Status, exitCodeText(pod.ExitCode), e.Reason, e.Message, e.Count)
		for _, d := range decisions {
			if d.EventID != e.ID {
				continue
			}
			group := ""
			if dl, err := st.Delivery(s.t.Context(), d.DeliveryID); err == nil {
				group = dl.Config + " for " + dl.Group
			}
			h.add("decision about %s by %s %s: %s %s", what, d.Hook.Name, d.Config, d.Disposition, group)
		}
	}
	return nil
}

func (h *historyText) nameOf(incidentID string) string {
	for name, inc := range h.incidents {
		if inc.ID == incidentID {
			return name
		}
	}
	return incidentID
}

func exitCodeText(c *int32) string {
	if c == nil {
		return "unknown"
	}
	return fmt.Sprint(*c)
}

// lost is which incidents of another history this one does not have.
func (h *historyText) lost(other *historyText) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(other.incidents)) {
		if h.incidents[name] == nil {
			names = append(names, name)
		}
	}
	return names
}
