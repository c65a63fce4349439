package detect

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
)

// FuzzPlay mangles real recordings: whatever a cluster says, in whichever order, what is told of it
// can be recorded, and time goes on.
func FuzzPlay(f *testing.F) {
	var all []*recording.Recording
	for i, name := range recordingNames(f) {
		all = append(all, readRecording(f, name))
		f.Add(uint8(i), uint64(i), uint8(i*9))
	}
	f.Fuzz(func(t *testing.T, which uint8, seed uint64, hard uint8) {
		rec := mangled(all[int(which)%len(all)], rand.New(rand.NewPCG(seed, 1)), int(hard))
		last, moments := rec.Base, 0
		err := Play(rec, Timing{}, 30*time.Minute, func(now time.Time, signals []incident.Signal) error {
			if moments++; moments > 20_000 {
				t.Fatal("the timers never end")
			}
			if now.Before(last) {
				t.Fatalf("time went back from %s to %s", last, now)
			}
			last = now
			for _, s := range signals {
				sane(t, s, now)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// mangled is the recording with some of its records lost, doubled, out of order or wrong. hard is
// how many of 256 are.
func mangled(r *recording.Recording, rnd *rand.Rand, hard int) *recording.Recording {
	m := &recording.Recording{Base: r.Base}
	unlucky := func() bool { return rnd.IntN(256) < hard }
	for _, record := range r.Records {
		if unlucky() {
			continue
		}
		for range 1 + rnd.IntN(2) {
			c := recording.Record{T: record.T, Type: record.Type, Pod: record.Pod.DeepCopy(), Event: record.Event.DeepCopy()}
			if unlucky() {
				mangle(&c, rnd)
			}
			m.Records = append(m.Records, c)
		}
	}
	if unlucky() {
		rnd.Shuffle(len(m.Records), func(i, j int) {
			a, b := &m.Records[i], &m.Records[j]
			a.Pod, a.Event, b.Pod, b.Event = b.Pod, b.Event, a.Pod, a.Event
		})
	}
	return m
}

func mangle(r *recording.Record, rnd *rand.Rand) {
	types := []watch.EventType{watch.Added, watch.Modified, watch.Deleted, r.Type}
	r.Type = types[rnd.IntN(len(types))]
	changes := manglePod(r.Pod, rnd)
	if r.Event != nil {
		changes = mangleEvent(r.Event, rnd)
	}
	for _, change := range changes {
		if rnd.IntN(3) == 0 {
			change()
		}
	}
}

// oddText is something that nobody should say.
func oddText(rnd *rand.Rand) string {
	odd := []string{"", "x", strings.Repeat("\u202e\x00Ä", 900), "\xff\xfe", "OOMKilled", "ContainerStatusUnknown", "Running", "Pending"}
	return odd[rnd.IntN(len(odd))]
}

func oddTime(rnd *rand.Rand) metav1.Time {
	return metav1.NewTime(time.Unix(rnd.Int64N(8e9)-2e9, 0))
}

func mangleEvent(ev *eventsv1.Event, rnd *rand.Rand) []func() {
	return []func(){
		func() { ev.DeprecatedCount = int32(rnd.Uint32()) },
		func() {
			ev.Series = &eventsv1.EventSeries{Count: int32(rnd.Uint32()), LastObservedTime: metav1.NewMicroTime(oddTime(rnd).Time)}
		},
		func() { ev.DeprecatedLastTimestamp, ev.DeprecatedFirstTimestamp = oddTime(rnd), oddTime(rnd) },
		func() { ev.Note, ev.Name = oddText(rnd), oddText(rnd) },
		func() {
			ev.Regarding = corev1.ObjectReference{Kind: "Pod", Name: oddText(rnd), UID: types.UID(oddText(rnd)), FieldPath: "spec.containers{" + oddText(rnd) + "}"}
		},
		func() { ev.Type, ev.Reason, ev.Note = "Warning", "Unhealthy", "Liveness probe failed: "+oddText(rnd) },
	}
}

func manglePod(pod *corev1.Pod, rnd *rand.Rand) []func() {
	changes := []func(){
		func() { pod.UID = types.UID(fmt.Sprint(rnd.Uint32())) },
		func() { pod.Labels, pod.OwnerReferences = map[string]string{oddText(rnd): oddText(rnd)}, nil },
		func() { pod.CreationTimestamp = oddTime(rnd) },
		func() { at := oddTime(rnd); pod.DeletionTimestamp = &at },
		func() { pod.Status.Phase, pod.Spec.NodeName = corev1.PodPhase(oddText(rnd)), oddText(rnd) },
		func() { pod.Spec.Containers, pod.Spec.InitContainers = pod.Spec.InitContainers, pod.Spec.Containers },
		func() { pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses = nil, nil },
	}
	if pod == nil {
		return nil
	}
	for st := range containerStatuses(pod) {
		changes = append(changes,
			func() { st.RestartCount, st.ContainerID, st.Ready = int32(rnd.Uint32()), oddText(rnd), !st.Ready },
			func() {
				st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: oddText(rnd), Message: oddText(rnd), FinishedAt: oddTime(rnd), ContainerID: oddText(rnd)}}
			},
			func() {
				st.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: oddTime(rnd)}}
			},
		)
	}
	return changes
}
