package detect

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/incident"
)

// node is a kubelet with one Pod, as far as its status goes: it counts, names and times instances as the kubelet does, by a
// clock of its own; and the node's controller, which says when nothing is heard of it. khook may stop and start anew.
type node struct {
	t    *rapid.T
	d    *Detector
	now  time.Time     // khook's and the API server's
	skew time.Duration // of the node's clock
	pod  *corev1.Pod
	lost bool
	up   bool // khook

	instances map[string]int             // of each container, so far
	told      map[string]incident.Signal // what the history has, by key
	open      map[containerSlot]*incident.Incident
	failedAt  map[containerSlot]time.Time
	lostAt    time.Time
	heardAt   time.Time // when the newest status came from the node, and showed that all is well; zero if it did not
}

func newNode(t *rapid.T) *node {
	n := &node{
		t: t, now: noon, up: true, instances: map[string]int{}, told: map[string]incident.Signal{}, failedAt: map[containerSlot]time.Time{},
		open: map[containerSlot]*incident.Incident{},
		skew: rapid.SampledFrom([]time.Duration{0, 0, time.Hour, -20 * time.Minute, -60 * 365 * 24 * time.Hour}).Draw(t, "skew"),
	}
	n.d = New(Timing{Start: n.now})
	n.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "6ab22e5b-35a4-4b0c-8a3b-4f1d7cf6a0d1", CreationTimestamp: metav1.NewTime(noon)},
		Spec:       corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "app"}, {Name: "log"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app"}, {Name: "log"}}},
	}
	for i := range n.pod.Status.ContainerStatuses {
		n.start(&n.pod.Status.ContainerStatuses[i])
	}
	n.put()
	return n
}

// start makes the next instance of a container.
func (n *node) start(st *corev1.ContainerStatus) {
	if n.instances[st.Name] > 0 {
		st.RestartCount++
	}
	n.instances[st.Name]++
	st.ContainerID = fmt.Sprintf("containerd://%s-%d", st.Name, n.instances[st.Name])
	st.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(n.now.Add(n.skew))}}
	st.Ready = true
}

// end ends the instance of a container; its end is shown as the state, and then as the last one.
func (n *node) end(st *corev1.ContainerStatus, code int32, reason string) {
	started := metav1.NewTime(n.now.Add(n.skew))
	if st.State.Running != nil {
		started = st.State.Running.StartedAt
	}
	st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, StartedAt: started, FinishedAt: metav1.NewTime(n.now.Add(n.skew)), ContainerID: st.ContainerID,
	}}
	st.Ready = false
}

// put writes the status, and lets khook see it.
func (n *node) put() {
	all := corev1.ConditionTrue
	for _, st := range n.pod.Status.ContainerStatuses {
		if !st.Ready {
			all = corev1.ConditionFalse
		}
	}
	ready := all
	if n.lost {
		ready = corev1.ConditionFalse
	}
	n.pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(n.lostAt)}, {Type: corev1.ContainersReady, Status: all},
	}
	n.heardAt = time.Time{}
	if !n.lost && all == corev1.ConditionTrue {
		n.heardAt = n.now
	}
	if n.up {
		n.take(n.d.Pod(n.now, watch.Modified, n.pod.DeepCopy(), false))
		n.tellsOfItsNode()
	}
}

// showsLost says whether the Pod shows that nothing is heard of its node: of one that was not ready before, the node's
// controller says nothing.
func (n *node) showsLost() bool {
	return n.lost && n.pod.Status.Conditions[1].Status == corev1.ConditionTrue
}

// tellsOfItsNode holds that the history knows of each open incident whether anything is heard of the node.
func (n *node) tellsOfItsNode() {
	shown := n.showsLost()
	for slot, inc := range n.open {
		if told := !inc.UnheardSince.IsZero(); told != shown {
			n.t.Fatalf("%s of %s: the node is lost: %v, and this is told: %v", slot.kind, slot.container, shown, told)
		}
	}
}

// take holds what khook tells against what happened.
func (n *node) take(signals []incident.Signal) {
	for _, s := range signals {
		slot := containerSlot{s.Type, s.Container}
		switch s.Kind {
		case incident.Observed:
			if s.At.Before(noon) || s.At.After(n.now) {
				n.t.Fatalf("%s is told of %s: the Pod was made at %s, now is %s", s.Key, s.At, noon, n.now)
			}
			if _, twice := n.told[s.Key]; !twice {
				n.failedAt[slot] = n.now
				n.record(slot, &s)
			}
			n.told[s.Key] = s
		case incident.Unheard:
			if !n.lost || !s.At.Equal(n.lostAt) {
				n.t.Fatalf("nothing is heard of the node since %s, it is told; it was lost: %v, at %s", s.At, n.lost, n.lostAt)
			}
			if inc := n.open[slot]; inc != nil {
				inc.Unheard(s.At)
			}
		case incident.Heard:
			if n.showsLost() {
				n.t.Fatalf("the node is told to be heard of, and is lost since %s", n.lostAt)
			}
			if inc := n.open[slot]; inc != nil {
				inc.UnheardSince = time.Time{}
			}
		case incident.Healthy:
			delete(n.open, slot)
			if n.heardAt.IsZero() || n.heardAt.Before(n.failedAt[slot]) && n.now.Sub(n.failedAt[slot]) < 2*time.Minute {
				n.t.Fatalf("%s of %s is told to be healthy, and nobody says so: lost %v, heard at %s, failed at %s", s.Type, s.Container, n.lost, n.heardAt, n.failedAt[slot])
			}
		}
	}
}

// record does with an occurrence as the ledger does.
func (n *node) record(slot containerSlot, s *incident.Signal) {
	if inc := n.open[slot]; inc != nil {
		inc.Observe(s)
		return
	}
	n.open[slot] = incident.Open(incident.Origin{}, s)
}

func (n *node) wait(d time.Duration) {
	until := n.now.Add(d)
	for due, ok := n.d.Next(); n.up && ok && !due.After(until); due, ok = n.d.Next() {
		n.now = latest(n.now, due)
		n.take(n.d.Tick(n.now))
	}
	n.now = until
}

// startKhook begins with the history, and with a list of what is there.
func (n *node) startKhook() {
	var open []*incident.Incident
	for _, inc := range n.open {
		open = append(open, inc)
	}
	n.d, n.up = New(Timing{Start: n.now}), true
	n.d.Seed(open)
	n.take(n.d.Pod(n.now, watch.Modified, n.pod.DeepCopy(), true))
	n.take(n.d.Listed(n.now, "", map[string]bool{string(n.pod.UID): true}))
	n.tellsOfItsNode()
}

// keysOf counts the keys of a type on a container.
func (n *node) keysOf(kind incident.EventType, container string) int {
	count := 0
	for _, s := range n.told {
		if s.Type == kind && s.Container == container {
			count++
		}
	}
	return count
}

// TestWhateverAKubeletDoesIsToldOnceAndAsItCanBe draws what happens on a node, with clocks that differ and stops of khook, and
// holds: nothing is told of a time that can't be, nothing heals that nobody says is well, each occurrence has one key,
// whoever tells it, whenever, and of each open incident it is told whether its node is heard of.
func TestWhateverAKubeletDoesIsToldOnceAndAsItCanBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNode(t)
		kills := map[string]int{}
		container := func(t *rapid.T) *corev1.ContainerStatus {
			return &n.pod.Status.ContainerStatuses[rapid.IntRange(0, 1).Draw(t, "container")]
		}
		ends := func(code int32, reason string) func(*rapid.T) {
			return func(t *rapid.T) {
				st := container(t)
				if st.State.Running == nil || n.lost {
					return
				}
				n.end(st, code, reason)
				if reason == reasonOOMKilled {
					kills[st.Name]++
				}
				n.put()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"crash":     ends(1, "Error"),
			"complete":  ends(0, "Completed"),
			"kill":      ends(137, "Error"),
			"OOM kill":  ends(137, reasonOOMKilled),
			"start err": ends(128, "StartError"),
			"hold back": func(t *rapid.T) {
				if st := container(t); st.State.Terminated != nil && !n.lost {
					st.LastTerminationState = corev1.ContainerState{Terminated: st.State.Terminated}
					st.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
					n.put()
				}
			},
			"start": func(t *rapid.T) {
				st := container(t)
				if st.State.Running != nil || n.lost {
					return
				}
				if st.State.Terminated != nil {
					st.LastTerminationState = corev1.ContainerState{Terminated: st.State.Terminated}
				}
				up, before := n.up, n.keysOf(incident.PodRestart, st.Name)
				n.start(st)
				n.put()
				if after := n.keysOf(incident.PodRestart, st.Name); up && after != before+1 {
					t.Fatalf("a restart of %s is told by %d keys", st.Name, after-before)
				}
			},
			"restart all": func(*rapid.T) {
				if n.lost {
					return
				}
				for i := range n.pod.Status.ContainerStatuses { // the count grows, and there is no instance yet
					st := &n.pod.Status.ContainerStatuses[i]
					if st.State.Running != nil {
						n.end(st, 137, "RestartingAllContainers")
					}
					if st.State.Terminated != nil {
						st.LastTerminationState = corev1.ContainerState{Terminated: st.State.Terminated}
					}
					st.State, st.ContainerID = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}, ""
					st.RestartCount++
				}
				n.put()
				for i := range n.pod.Status.ContainerStatuses {
					st := &n.pod.Status.ContainerStatuses[i]
					n.start(st)
					st.RestartCount--
				}
				n.put()
			},
			"lose node": func(*rapid.T) {
				if !n.lost {
					n.lost, n.lostAt = true, n.now
				}
				n.put()
			},
			"node back":  func(*rapid.T) { n.lost = false; n.put() },
			"a moment":   func(*rapid.T) { n.wait(3 * time.Second) },
			"a while":    func(*rapid.T) { n.wait(3 * time.Minute) },
			"stop khook": func(*rapid.T) { n.up = false },
			"start khook": func(*rapid.T) {
				if !n.up {
					n.startKhook()
				}
			},
			"": func(t *rapid.T) {
				for name, instances := range n.instances {
					if got := n.keysOf(incident.PodRestart, name); got > instances-1 {
						t.Fatalf("%d restarts of %s have %d keys", instances-1, name, got)
					}
					if got := n.keysOf(incident.OOMKill, name); got > kills[name] {
						t.Fatalf("%d OOM kills of %s have %d keys", kills[name], name, got)
					}
				}
			},
		})
	})
}
