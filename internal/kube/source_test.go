package kube

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kagent-dev/khook/internal/incident"
)

func TestAStatusWriteBecomesASignal(t *testing.T) {
	w := watchCluster(t)
	w.awaitSynced()
	pod := w.restart(w.start(w.namespace, "web"), 1)
	w.awaitObserved(1)
	got := w.told()[0]
	want := incident.Resource{Kind: "Pod", Namespace: w.namespace, Name: "web", UID: string(pod.UID)}
	if got.Type != incident.PodRestart || got.Resource != want || got.CatchUp {
		t.Errorf("told %+v", got)
	}
	w.remove(pod)
	w.await("the Pod is gone", func() bool { all := w.told(); return all[len(all)-1].Kind == incident.Gone })
}

// event makes a Warning that a Pod's probe failed.
func (w *watching) event(name string, pod *corev1.Pod) {
	w.eventOf(name, "Warning", "Unhealthy", "Pod", pod)
}

// eventOf makes an Event; it comes to khook if it is about a Pod, and of no reason that each Pod has.
func (w *watching) eventOf(name, typ, reason, kind string, pod *corev1.Pod) {
	w.t.Helper()
	ev := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}, EventTime: metav1.NowMicro(),
		Type: typ, Reason: reason, Note: notReady, Action: "Probe", ReportingController: "kubelet", ReportingInstance: "n1",
		Regarding: corev1.ObjectReference{Kind: kind, Namespace: w.namespace, Name: name, UID: pod.UID, FieldPath: "spec.containers{app}"},
	}
	w.must(w.admin.EventsV1().Events(w.namespace).Create(w.t.Context(), ev, metav1.CreateOptions{}))
}

func TestOnlyEventsThatTellOfPodsAreWatched(t *testing.T) {
	seen := make(chan string, 100)
	w := watchCluster(t, func(_ *Config, w *watching) {
		w.wire.trouble = func(r *http.Request, resp *http.Response) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/events") {
				resp.Body = &spy{resp.Body, seen}
			}
			return resp, nil
		}
	})
	w.awaitSynced()
	pod := w.start(w.namespace, "web")
	want := map[string]bool{"the-other-one": false, "the-failed-one": true}
	for reason, comes := range map[string]bool{
		"Scheduled": false, "Pulled": false, "Created": false, "Started": false, "Killing": false, "BackOff": false,
		"Pulling": true, "TriggeredScaleUp": true, "NotTriggerScaleUp": true, "Nominated": true,
	} {
		name := "the-one-that-is-" + strings.ToLower(reason)
		want[name] = comes
		w.eventOf(name, "Normal", reason, "Pod", pod)
	}
	w.eventOf("the-other-one", "Warning", "Unhealthy", "Node", pod)
	w.event("the-failed-one", pod)
	w.awaitObserved(1)
	w.stop()
	close(seen)
	var all strings.Builder
	for s := range seen {
		all.WriteString(s)
	}
	for name, comes := range want {
		if got := strings.Contains(all.String(), name); got != comes {
			t.Errorf("the Event %q came: %v, want %v", name, got, comes)
		}
	}
}

// spy shows what is read.
type spy struct {
	io.ReadCloser
	seen chan<- string
}

func (s *spy) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		s.seen <- string(p[:n])
	}
	return n, err
}

func TestWhatHappensWhileTheAPIServerRestartsIsNeitherLostNorToldTwice(t *testing.T) {
	w := watchCluster(t)
	w.awaitSynced()
	stays, goes, calm := w.restart(w.start(w.namespace, "stays"), 1), w.restart(w.start(w.namespace, "goes"), 1), w.start(w.namespace, "calm")
	w.event("before", calm)
	w.awaitObserved(3)

	w.wire.fell()
	apiserver := apiServer(t).ControlPlane.GetAPIServer()
	if err := apiserver.Stop(); err != nil {
		t.Log(err)
	}
	w.await("the watches are seen to be down", func() bool { _, all := w.source.WatchedSince(); return !all })
	if err := apiserver.Start(); err != nil {
		t.Fatal(err)
	}
	w.await("the API server answers", func() bool {
		_, err := w.admin.CoreV1().Namespaces().Get(t.Context(), w.namespace, metav1.GetOptions{})
		return err == nil
	})
	w.restart(stays, 3)
	w.remove(goes)
	w.restart(w.start(w.namespace, "comes"), 1)
	w.event("meanwhile", calm)
	w.wire.mend()

	w.await("the deleted Pod is gone", func() bool {
		return slices.ContainsFunc(w.told(), func(s incident.Signal) bool { return s.Kind == incident.Gone && s.Resource.Name == "goes" })
	})
	w.awaitObserved(6)
	w.awaitSynced()
	w.restart(calm, 1)
	w.awaitObserved(7)
}

// ends answers the request for a watch as a server that has forgotten the resource version.
func expired(r *http.Request) *http.Response {
	status := `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}`
	return &http.Response{
		StatusCode: http.StatusGone, Status: "410 Gone", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewBufferString(status)),
	}
}

func TestNoSignalIsLostOrToldTwiceWhateverHappensToTheWatches(t *testing.T) {
	const pods, writes = 10, 200
	var gone, opened atomic.Int64
	w := watchCluster(t, func(_ *Config, w *watching) {
		w.wire.trouble = func(r *http.Request, resp *http.Response) (*http.Response, error) {
			if opened.Add(1)%3 == 0 && gone.Add(1) <= 6 {
				_ = resp.Body.Close()
				return expired(r), nil
			}
			return resp, nil
		}
	})
	w.await("the first lists are in", w.source.Synced)
	all := make([]*corev1.Pod, pods)
	for i := range all {
		all[i] = w.start(w.namespace, fmt.Sprintf("web-%d", i))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range writes {
		// Each is to be seen before the next one to the same Pod: versions between may be missed.
		all[i%pods] = w.restart(all[i%pods], int32(i/pods)+1)
		if random.IntN(10) == 0 {
			w.wire.tear()
		}
		if i%pods == pods-1 {
			w.await("the round is told", func() bool { return len(keys(w.told())) > i })
		}
	}
	w.awaitObserved(writes)
	if gone.Load() == 0 {
		t.Error("no watch was answered 410 Gone")
	}
}

func TestOnlyTheNamedNamespacesAreWatched(t *testing.T) {
	w := watchCluster(t, func(cfg *Config, w *watching) { cfg.Namespaces = append(cfg.Namespaces, w.newNamespace()) })
	other := w.newNamespace()
	w.awaitSynced()
	first, second := w.source.cfg.Namespaces[0], w.source.cfg.Namespaces[1]
	w.restart(w.start(other, "web"), 1)
	w.restart(w.start(first, "web"), 1)
	w.restart(w.start(second, "web"), 1)
	w.awaitObserved(2)
	got := map[string]bool{}
	for _, s := range w.told() {
		got[s.Resource.Namespace] = true
	}
	if diff := cmp.Diff(map[string]bool{first: true, second: true}, got); diff != "" {
		t.Error(diff)
	}
	if health := w.source.Health(); len(health) != 4 {
		t.Errorf("there are %d watches, want Pods and Events of 2 namespaces", len(health))
	}
}

func TestAllNamespacesAreWatchedWithoutAny(t *testing.T) {
	w := watchCluster(t, func(cfg *Config, _ *watching) { cfg.Namespaces = nil })
	w.awaitSynced()
	pod := w.restart(w.start(w.newNamespace(), "anywhere"), 1)
	w.await("it is told", func() bool { return strings.Contains(strings.Join(keys(w.told()), "\n"), string(pod.UID)) })
}

func TestSignalsThatCannotBeRecordedAreKeptAndShown(t *testing.T) {
	w := watchCluster(t)
	w.refusing(errors.New("the disk is full"))
	w.awaitSynced()
	if err := w.source.Check(); err != nil {
		t.Errorf("at first: %v", err)
	}
	for i := range 5 {
		w.restart(w.start(w.namespace, fmt.Sprintf("web-%d", i)), 1)
	}
	w.await("Check says so", func() bool {
		err := w.source.Check()
		return err != nil && strings.Contains(err.Error(), "waiting to be recorded: the disk is full")
	})
	w.await("Health says how many", func() bool { return w.source.Health()[0].Waiting == 5 })
	w.refusing(nil)
	w.awaitObserved(5)
	w.await("Check is content", func() bool { return w.source.Check() == nil })
}

func TestAWatchThatIsDownForMoreThanAMinuteIsShown(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	w := watchCluster(t, withClock(clock))
	w.await("the lists are in", func() bool { return w.source.Synced() && w.source.Health()[0].Up && w.source.Health()[1].Up })
	w.wire.fell()
	w.await("the watches are down", func() bool {
		pods, events := w.source.Health()[0], w.source.Health()[1]
		return !pods.Up && strings.Contains(pods.Error, errCut.Error()) && !events.Up && events.Error != ""
	})
	clock.Step(59 * time.Second)
	if err := w.source.Check(); err != nil {
		t.Errorf("within the minute: %v", err)
	}
	clock.Step(2 * time.Second)
	err := w.source.Check()
	if err == nil || !strings.Contains(err.Error(), "the watch of pods in "+w.namespace+" is down since") || !strings.Contains(err.Error(), errCut.Error()) {
		t.Errorf("after it: %v", err)
	}
	down := w.source.metrics.down.WithLabelValues("pods", w.namespace)
	w.await("the metric says so", func() bool { return testutil.ToFloat64(down) > 60 })
	if _, all := w.source.WatchedSince(); all {
		t.Error("it claims that everything is watched")
	}
	w.wire.mend()
	w.await("Check is content", func() bool { clock.Step(time.Second); return w.source.Check() == nil })
	w.await("the metric too", func() bool { clock.Step(time.Second); return testutil.ToFloat64(down) == 0 })
}

func TestASourceThatNeverReachesTheClusterIsShown(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	w := watchCluster(t, withClock(clock), func(_ *Config, w *watching) { w.wire.fell() })
	w.await("it has tried", func() bool { return w.source.Health()[0].Error != "" })
	clock.Step(61 * time.Second)
	if err := w.source.Check(); err == nil {
		t.Error("Check is content")
	}
	if w.source.Synced() {
		t.Error("it claims that the first lists are in")
	}
}

func TestRunEndsAndLeavesNothingBehind(t *testing.T) {
	apiServer(t)
	before := goleak.IgnoreCurrent()
	// Connections are of client-go's transport, which the tests share.
	connection := goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run")
	w := watchCluster(t)
	w.awaitSynced()
	w.restart(w.start(w.namespace, "web"), 1)
	w.awaitObserved(1)
	w.refusing(errors.New("the disk is full"))
	w.restart(w.start(w.namespace, "waits"), 1)
	w.await("a signal waits", func() bool { return w.source.Check() != nil })
	w.stop()
	goleak.VerifyNone(t, before, connection)
}
