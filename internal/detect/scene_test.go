package detect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
)

// noon is when scenes begin.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const oneSecond = time.Second

// scene plays a kubelet and a scheduler to a detector, on a virtual clock.
type scene struct {
	t       testing.TB
	d       *Detector
	now     time.Time
	pod     *corev1.Pod
	events  map[string]*eventsv1.Event
	signals []incident.Signal
	told    map[string]time.Time // when each occurrence was told, by its key
}

// take keeps what is told.
func (s *scene) take(signals []incident.Signal) {
	s.signals = append(s.signals, signals...)
	for _, sig := range signals {
		if _, before := s.told[sig.Key]; !before && sig.Kind == incident.Observed {
			s.told[sig.Key] = s.now
		}
	}
}

// newScene begins with a scheduled Pod whose containers are being made.
func newScene(t testing.TB, containers ...corev1.Container) *scene {
	if len(containers) == 0 {
		containers = []corev1.Container{{Name: "app"}}
	}
	s := &scene{t: t, d: New(Timing{Start: noon}), now: noon, events: map[string]*eventsv1.Event{}, told: map[string]time.Time{}}
	s.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6a0d1", CreationTimestamp: metav1.NewTime(noon)},
		Spec:       corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range containers {
		st := corev1.ContainerStatus{Name: c.Name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}
		if name, ok := strings.CutPrefix(c.Name, "init:"); ok {
			c.Name, st.Name = name, name
			s.pod.Spec.InitContainers = append(s.pod.Spec.InitContainers, c)
			s.pod.Status.InitContainerStatuses = append(s.pod.Status.InitContainerStatuses, st)
			continue
		}
		s.pod.Spec.Containers = append(s.pod.Spec.Containers, c)
		s.pod.Status.ContainerStatuses = append(s.pod.Status.ContainerStatuses, st)
	}
	return s
}

// put lets the detector see the Pod as it is.
func (s *scene) put() { s.feed(watch.Modified, false) }

// list lets it see the Pod in the first list.
func (s *scene) list() {
	s.feed(watch.Modified, true)
	s.take(s.d.Listed(s.now, "", map[string]bool{string(s.pod.UID): true}))
}

func (s *scene) feed(typ watch.EventType, catchUp bool) {
	s.take(s.d.Pod(s.now, typ, s.pod.DeepCopy(), catchUp))
}

// wait lets time go on; timers fire when they are due.
func (s *scene) wait(d time.Duration) {
	until := s.now.Add(d)
	for due, ok := s.d.Next(); ok && !due.After(until); due, ok = s.d.Next() {
		s.now = latest(s.now, due)
		s.take(s.d.Tick(s.now))
	}
	s.now = until
}

func (s *scene) status(name string) *corev1.ContainerStatus {
	for st := range containerStatuses(s.pod) {
		if st.Name == name {
			return st
		}
	}
	s.t.Fatalf("no container %s", name)
	return nil
}

// run starts the containers, or starts them anew; it makes them ready if they have no readiness
// and no startup probe.
func (s *scene) run(names ...string) {
	for _, name := range names {
		st := s.status(name)
		if st.ContainerID != "" {
			s.again(st)
		}
		started := true
		st.ContainerID = fmt.Sprintf("containerd://%s-%d-%d", name, st.RestartCount, s.now.Unix())
		st.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(s.now)}}
		st.Ready = true
		for _, c := range s.pod.Spec.Containers {
			if c.Name == name {
				st.Ready, started = c.ReadinessProbe == nil && c.StartupProbe == nil, c.StartupProbe == nil
			}
		}
		st.Started = &started
	}
	s.pod.Status.Phase = corev1.PodRunning
	for _, st := range s.pod.Status.ContainerStatuses {
		if st.ContainerID == "" {
			s.pod.Status.Phase = corev1.PodPending
		}
	}
	s.put()
}

// again keeps the former instance's end, as a restart does.
func (s *scene) again(st *corev1.ContainerStatus) {
	if st.State.Terminated != nil {
		st.LastTerminationState = corev1.ContainerState{Terminated: st.State.Terminated}
	}
	st.RestartCount++
}

// end terminates the container.
func (s *scene) end(name string, code int32, reason string) {
	s.endQuietly(name, code, reason)
	s.put()
}

func (s *scene) endQuietly(name string, code int32, reason string) {
	st := s.status(name)
	started := metav1.NewTime(s.now)
	if st.State.Running != nil {
		started = st.State.Running.StartedAt
	}
	st.Ready = false
	st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: started, FinishedAt: metav1.NewTime(s.now), ContainerID: st.ContainerID,
	}}
}

// waits holds the container back with a reason, as the kubelet does after its end.
func (s *scene) waits(name, reason string) {
	st := s.status(name)
	if st.State.Terminated != nil {
		st.LastTerminationState = corev1.ContainerState{Terminated: st.State.Terminated}
	}
	st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	s.put()
}

// crash ends the container and starts it anew after pause.
func (s *scene) crash(name string, code int32, reason string, pause time.Duration) {
	s.end(name, code, reason)
	s.wait(pause)
	s.run(name)
}

// ready sets whether the container is ready; one that is ready has passed its startup probe.
func (s *scene) ready(name string, ready bool) {
	st := s.status(name)
	st.Ready = ready
	if ready {
		s.status(name).Started = &ready
	}
	s.put()
}

// probe tells n more failures of a probe at once, as one update of its Event.
func (s *scene) probe(container, note string, n int32) {
	s.warn("Unhealthy", "spec.containers{"+container+"}", note, n, false)
}

// probes tells n failures of a probe, one every period.
func (s *scene) probes(container, note string, n int, period time.Duration) {
	for i := range n {
		if i > 0 {
			s.wait(period)
		}
		s.probe(container, note, 1)
	}
}

// warn tells n more occurrences of a Warning about the Pod.
func (s *scene) warn(reason, path, note string, n int32, catchUp bool) {
	id := reason + path + note
	ev := s.events[id]
	if ev == nil {
		ev = &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web.%x", hash(id)), Namespace: "shop", UID: types.UID(id), CreationTimestamp: metav1.NewTime(s.now)},
			Type:       corev1.EventTypeWarning, Reason: reason, Note: note, DeprecatedFirstTimestamp: metav1.NewTime(s.now),
			Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: s.pod.UID, FieldPath: path},
		}
		s.events[id] = ev
	}
	ev.DeprecatedCount += n
	ev.DeprecatedLastTimestamp = metav1.NewTime(s.now)
	s.see(ev, catchUp)
}

func (s *scene) see(ev *eventsv1.Event, catchUp bool) {
	s.take(s.d.Event(s.now, watch.Modified, ev.DeepCopy(), catchUp))
}

// remove deletes the Pod as the kubelet and the API server do: with its containers' ends, then gone.
func (s *scene) remove() {
	s.terminate()
	s.wait(oneSecond)
	s.feed(watch.Deleted, false)
}

func (s *scene) terminate() {
	at := metav1.NewTime(s.now)
	s.pod.DeletionTimestamp = &at
	s.put()
}

// restartKhook replaces the detector by one that starts now; open are the incidents of the history.
func (s *scene) restartKhook(open ...*incident.Incident) {
	s.d = New(Timing{Start: s.now})
	s.d.Seed(open)
}

// says holds what was told against what is to be told.
func (s *scene) says(want ...string) {
	s.t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, summaries(s.signals)); diff != "" {
		s.t.Errorf("(-want +got)\n%s", diff)
	}
	seen := map[string]bool{}
	for _, sig := range s.signals {
		if sig.Kind != incident.Observed {
			continue
		}
		if seen[sig.Key] || sig.Key == "" || len(sig.Key) > 253 {
			s.t.Errorf("the key %q was told before, or is none", sig.Key)
		}
		seen[sig.Key] = true
	}
}

// observed returns the signals of occurrences.
func (s *scene) observed() []incident.Signal {
	var all []incident.Signal
	for _, sig := range s.signals {
		if sig.Kind == incident.Observed {
			all = append(all, sig)
		}
	}
	return all
}

// story is a case of a table: what happens, and what is told.
type story struct {
	name       string
	containers []corev1.Container
	happens    func(s *scene)
	want       []string
}

func tell(t *testing.T, stories []story) {
	t.Helper()
	for _, c := range stories {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, c.containers...)
			s.put()
			c.happens(s)
			s.says(c.want...)
		})
	}
}

// httpProbe is a probe with a threshold and a period in seconds.
func httpProbe(threshold, period, delay int32) *corev1.Probe {
	return &corev1.Probe{FailureThreshold: threshold, PeriodSeconds: period, InitialDelaySeconds: delay, TimeoutSeconds: 1}
}
