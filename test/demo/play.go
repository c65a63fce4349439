package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/recording"
)

// player writes a recording into the API server, as the scheduler and the kubelet did.
type player struct {
	c     client.Client
	tell  *teller
	base  time.Time // when the recording started, by its own clock
	start time.Time // when it is played
	pace  pace
	pods  map[string]types.UID // UIDs here by the recording's
	state map[string]string    // what was last told of each Pod
}

// play starts to play a recording in the background.
func play(ctx context.Context, c client.Client, path string, pc pace, tell *teller) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	start := time.Now()
	p := &player{c: c, tell: tell, base: rec.Base, start: start, pace: pc, pods: map[string]types.UID{}, state: map[string]string{}}
	tell.players.Go(func() error {
		for _, r := range rec.Records {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Until(start.Add(pc.of(r.T)))):
			}
			if err := p.write(ctx, r); err != nil && ctx.Err() == nil {
				return fmt.Errorf("play %s at %s: %w", path, r.T, err)
			}
		}
		return nil
	})
	return nil
}

// today is when something that was recorded happens here.
func (p *player) today(recorded time.Time) time.Time {
	return p.start.Add(p.pace.of(recorded.Sub(p.base)))
}

func (p *player) write(ctx context.Context, r recording.Record) error {
	switch {
	case r.Event != nil:
		return p.event(ctx, r.Event)
	case r.Type == watch.Deleted:
		p.tell.say(cluster, "Pod %s is deleted", r.Pod.Name)
		return client.IgnoreNotFound(p.c.Delete(ctx, r.Pod, client.GracePeriodSeconds(0)))
	case r.Type == watch.Added:
		return p.create(ctx, r.Pod)
	default:
		return p.status(ctx, r.Pod)
	}
}

// create makes the Pod as it was recorded; what only the API server may set is its own.
func (p *player) create(ctx context.Context, pod *corev1.Pod) error {
	uid := string(pod.UID)
	pod = pod.DeepCopy()
	pod.ResourceVersion, pod.UID, pod.Generation = "", "", 0
	pod.CreationTimestamp = metav1.Time{}
	pod.Annotations = nil
	if err := p.c.Create(ctx, pod); err != nil {
		return err
	}
	p.pods[uid] = pod.UID
	return nil
}

// status binds the Pod to its node, when it was, and writes its status with the times of today.
func (p *player) status(ctx context.Context, recorded *corev1.Pod) error {
	var pod corev1.Pod
	if err := p.c.Get(ctx, client.ObjectKeyFromObject(recorded), &pod); err != nil {
		return client.IgnoreNotFound(err)
	}
	if pod.Spec.NodeName == "" && recorded.Spec.NodeName != "" {
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: recorded.Spec.NodeName}}
		if err := p.c.SubResource("binding").Create(ctx, &pod, binding); err != nil {
			return err
		}
		if err := p.c.Get(ctx, client.ObjectKeyFromObject(recorded), &pod); err != nil {
			return err
		}
	}
	recorded.Status.DeepCopyInto(&pod.Status)
	pod.Status.ObservedGeneration = 0
	for i := range pod.Status.Conditions {
		pod.Status.Conditions[i].ObservedGeneration = 0
	}
	p.move(&pod.Status)
	p.tellState(&pod)
	return client.IgnoreNotFound(p.c.Status().Update(ctx, &pod))
}

// move shifts the times of a status to today.
func (p *player) move(s *corev1.PodStatus) {
	at := func(t *metav1.Time) {
		if !t.IsZero() {
			*t = metav1.NewTime(p.today(t.Time))
		}
	}
	if s.StartTime != nil {
		at(s.StartTime)
	}
	for _, statuses := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range statuses {
			for _, state := range []*corev1.ContainerState{&statuses[i].State, &statuses[i].LastTerminationState} {
				if state.Running != nil {
					at(&state.Running.StartedAt)
				}
				if t := state.Terminated; t != nil {
					at(&t.StartedAt)
					at(&t.FinishedAt)
				}
			}
		}
	}
}

// tellState prints what a status says, where it says something new.
func (p *player) tellState(pod *corev1.Pod) {
	var parts []string
	for _, st := range pod.Status.ContainerStatuses {
		what := "runs"
		switch {
		case st.State.Waiting != nil:
			what = "waits: " + st.State.Waiting.Reason
		case st.State.Terminated != nil:
			what = fmt.Sprintf("ended: %s, exit code %d", st.State.Terminated.Reason, st.State.Terminated.ExitCode)
		case !st.Ready:
			what = "runs, not ready"
		}
		if st.RestartCount > 0 {
			what += fmt.Sprintf(" (restarts: %d)", st.RestartCount)
		}
		parts = append(parts, "container "+st.Name+" "+what)
	}
	text := strings.Join(parts, "; ")
	if text == "" || p.state[pod.Name] == text {
		return
	}
	p.state[pod.Name] = text
	p.tell.say(cluster, "%s: %s", pod.Name, text)
}

// event makes the Event, or brings the one that was made up to date.
func (p *player) event(ctx context.Context, recorded *eventsv1.Event) error {
	uid, ok := p.pods[string(recorded.Regarding.UID)]
	if !ok {
		return nil // about another object than a Pod
	}
	ev := recorded.DeepCopy()
	ev.ResourceVersion, ev.UID, ev.CreationTimestamp = "", "", metav1.Time{}
	ev.Regarding.UID = uid
	if !ev.EventTime.IsZero() {
		ev.EventTime = metav1.NewMicroTime(p.today(ev.EventTime.Time))
	}
	if ev.Series != nil {
		ev.Series.LastObservedTime = metav1.NewMicroTime(p.today(ev.Series.LastObservedTime.Time))
	}
	// Events of the kubelet come through the older API, which allows what this one does not.
	old := &corev1.Event{
		ObjectMeta:     ev.ObjectMeta,
		InvolvedObject: ev.Regarding, Reason: ev.Reason, Message: ev.Note, Type: ev.Type, Source: ev.DeprecatedSource, Count: ev.DeprecatedCount,
		FirstTimestamp: metav1.NewTime(p.today(ev.DeprecatedFirstTimestamp.Time)), LastTimestamp: metav1.NewTime(p.today(ev.DeprecatedLastTimestamp.Time)),
		EventTime: ev.EventTime, ReportingController: ev.ReportingController, ReportingInstance: ev.ReportingInstance, Action: ev.Action,
	}
	if ev.DeprecatedCount == 0 {
		old.FirstTimestamp, old.LastTimestamp = metav1.Time{}, metav1.Time{}
	}
	var known corev1.Event
	err := p.c.Get(ctx, client.ObjectKeyFromObject(old), &known)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if err != nil {
		return p.c.Create(ctx, old)
	}
	old.ResourceVersion = known.ResourceVersion
	return p.c.Update(ctx, old)
}
