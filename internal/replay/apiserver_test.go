package replay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/kubetest"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/store"
)

// player writes a recording into an API server, as the scheduler and the kubelet did. The server gives the objects times,
// UIDs and resource versions of its own.
type player struct {
	client    kubernetes.Interface
	namespace string
	shift     time.Duration // from the recording's clock to now
	uids      map[types.UID]types.UID
}

func (p *player) play(ctx context.Context, rec *recording.Recording) error {
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	start := time.Now()
	p.shift = start.Sub(rec.Base)
	for _, r := range rec.Records {
		select {
		case <-time.After(time.Until(start.Add(r.T))):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.write(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) write(ctx context.Context, r recording.Record) error {
	switch {
	case r.Event != nil:
		return p.event(ctx, r.Event)
	case r.Type == watch.Deleted:
		return p.client.CoreV1().Pods(p.namespace).Delete(ctx, r.Pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	case p.uids[r.Pod.UID] == "":
		return p.create(ctx, r.Pod)
	}
	return p.status(ctx, r.Pod)
}

// create makes the Pod on its node, with the status that it had.
func (p *player) create(ctx context.Context, recorded *corev1.Pod) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: recorded.Name, Labels: recorded.Labels, OwnerReferences: recorded.OwnerReferences}, Spec: recorded.Spec}
	made, err := p.client.CoreV1().Pods(p.namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	p.uids[recorded.UID] = made.UID
	return p.status(ctx, recorded)
}

// status binds the Pod to its node, when it was, and writes its status with the times of today.
func (p *player) status(ctx context.Context, recorded *corev1.Pod) error {
	pods := p.client.CoreV1().Pods(p.namespace)
	pod, err := pods.Get(ctx, recorded.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" && recorded.Spec.NodeName != "" {
		binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: recorded.Spec.NodeName}}
		if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
			return err
		}
		if pod, err = pods.Get(ctx, recorded.Name, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	recorded.Status.DeepCopyInto(&pod.Status)
	p.move(pod.Status.StartTime)
	for i := range pod.Status.Conditions {
		p.move(&pod.Status.Conditions[i].LastTransitionTime)
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			for _, state := range []*corev1.ContainerState{&statuses[i].State, &statuses[i].LastTerminationState} {
				if state.Running != nil {
					p.move(&state.Running.StartedAt)
				}
				if state.Terminated != nil {
					p.move(&state.Terminated.StartedAt)
					p.move(&state.Terminated.FinishedAt)
				}
			}
		}
	}
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

func (p *player) move(t *metav1.Time) {
	if !t.IsZero() {
		*t = metav1.NewTime(t.Add(p.shift))
	}
}

// event makes an Event, or brings the one that was made up to date; by the older API, as the kubelet does.
func (p *player) event(ctx context.Context, ev *eventsv1.Event) error {
	uid := p.uids[ev.Regarding.UID]
	if uid == "" {
		return nil // of another object than a Pod
	}
	old := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: ev.Name}, InvolvedObject: ev.Regarding, Reason: ev.Reason, Message: ev.Note, Type: ev.Type,
		Source: ev.DeprecatedSource, Count: ev.DeprecatedCount, FirstTimestamp: ev.DeprecatedFirstTimestamp, LastTimestamp: ev.DeprecatedLastTimestamp,
		ReportingController: ev.ReportingController, ReportingInstance: ev.ReportingInstance,
	}
	old.InvolvedObject.UID, old.InvolvedObject.Namespace = uid, p.namespace
	p.move(&old.FirstTimestamp)
	p.move(&old.LastTimestamp)
	events := p.client.CoreV1().Events(p.namespace)
	_, err := events.Create(ctx, old, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	known, err := events.Get(ctx, ev.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	old.ResourceVersion = known.ResourceVersion
	_, err = events.Update(ctx, old, metav1.UpdateOptions{})
	return err
}

// short are recordings that are played in real time.
var short = []string{
	filepath.Join(cases, "07-init-oom-exit0.jsonl"), filepath.Join(cases, "28-two-containers-oom.jsonl"), "../../test/recordings/healthy.jsonl",
	"../../test/recordings/crash-once-then-recover.jsonl", "../../test/recordings/run-once-done.jsonl",
}

// TestReplaySaysWhatARealAPIServerLeadsTo plays short recordings, beside each other, into a real API server that khook
// watches. Its times are to the second, and some later than recorded.
func TestReplaySaysWhatARealAPIServerLeadsTo(t *testing.T) {
	t.Parallel()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("there is no API server to play into: KUBEBUILDER_ASSETS is not set")
	}
	env, err := kubetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer env.Stop()
	var all sync.WaitGroup
	for _, path := range short {
		all.Go(func() { holdsInRealTime(t, kubernetes.NewForConfigOrDie(env.Config), path) })
	}
	all.Wait()
}

// holdsInRealTime plays one recording, in a namespace of its own.
func holdsInRealTime(t *testing.T, client kubernetes.Interface, path string) {
	o := Options{Policy: hook.Policy{AgentNamespaces: []string{"kagent"}}, Settle: time.Second}
	hooks := []*v1alpha2.Hook{everything()}
	want := whom(whatReplaySays(t, path, hooks, o))
	p := &player{client: client, namespace: nameOf(path), uids: map[types.UID]types.UID{}}
	set, err := hookSet(p.namespace, hooks, o.Policy)
	history, openErr := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), p.namespace+".db")})
	if err := errors.Join(err, openErr); err != nil {
		t.Error(err)
		return
	}
	defer history.Close()
	start := time.Now()
	c := &controller{t: t, api: client, store: history, hooks: set, options: o}
	c.start(start)
	if err := p.play(t.Context(), readRecording(t, path)); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	differs := func() string {
		r := &replay{ctx: t.Context(), base: start, store: history, hooks: set, holds: newHolds(start, history)}
		story, err := r.story("", nil)
		if err != nil {
			t.Error(err)
		}
		got := whom(story)
		for i := range got {
			got[i].Hook = "shop/all" // it is in another namespace here
		}
		return gocmp.Diff(got, want, cmpopts.EquateApprox(0, 20))
	}
	for deadline := time.Now().Add(time.Minute); differs() != "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		continue
	}
	c.stop()
	c.running.Wait()
	if diff := differs(); diff != "" { // also if it has called once more meanwhile
		t.Errorf("%s: - the controller, + replay\n%s", path, diff)
	}
}
