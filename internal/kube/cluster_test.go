package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/kubetest"
)

// cluster is the API server that the tests of this package share; it starts when one asks for it.
var cluster struct {
	sync.Mutex
	*kubetest.Env
	namespaces atomic.Int64
}

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster.Env != nil {
		cluster.Stop()
	}
	os.Exit(code)
}

// apiServer returns the running API server.
func apiServer(t testing.TB) *kubetest.Env {
	t.Helper()
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.Env == nil {
		env, err := kubetest.Start()
		if err != nil {
			t.Fatal(err)
		}
		cluster.Env = env
	}
	return cluster.Env
}

// wire is khook's connection to the API server, with its troubles.
type wire struct {
	http.RoundTripper
	cut     atomic.Bool
	trouble func(*http.Request, *http.Response) (*http.Response, error) // of watches; nil if there is none

	mu   sync.Mutex
	open map[*body]bool
}

// body is the answer of a watch that can be torn off.
type body struct {
	io.ReadCloser
	w    *wire
	torn atomic.Bool
}

// Read ends as a connection does that is closed between two frames.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.torn.Load() {
		err = io.EOF
	}
	return n, err
}

func (b *body) Close() error {
	b.w.mu.Lock()
	delete(b.w.open, b)
	b.w.mu.Unlock()
	return b.ReadCloser.Close()
}

var errCut = errors.New("the wire is cut")

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, errCut
	}
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil || r.URL.Query().Get("watch") == "" {
		return resp, err
	}
	b := &body{ReadCloser: resp.Body, w: w}
	resp.Body = b
	w.mu.Lock()
	w.open[b] = true
	w.mu.Unlock()
	if w.cut.Load() { // it was cut while the watch was being opened, too late for tear to find it
		return nil, errors.Join(errCut, b.Close())
	}
	if w.trouble != nil {
		return w.trouble(r, resp)
	}
	return resp, nil
}

// WrappedRoundTripper lets idle connections be closed.
func (w *wire) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

// tear closes all open watches.
func (w *wire) tear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for b := range w.open {
		b.torn.Store(true)
		_ = b.ReadCloser.Close()
	}
}

// fell cuts the wire for good, until mend.
func (w *wire) fell() { w.cut.Store(true); w.tear() }
func (w *wire) mend() { w.cut.Store(false) }

// watching is a running Source on the real API server, and what it told.
type watching struct {
	t         testing.TB
	source    *Source
	wire      *wire
	admin     kubernetes.Interface
	namespace string
	registry  *prometheus.Registry
	stop      func() // ends it and waits

	mu      sync.Mutex
	signals []incident.Signal
	refuse  error // of the sink
}

type option func(*Config, *watching)

func withClock(c clock.WithTicker) option { return func(cfg *Config, _ *watching) { cfg.Clock = c } }

// watchCluster starts a Source that watches a new namespace.
func watchCluster(t testing.TB, options ...option) *watching {
	t.Helper()
	env := apiServer(t)
	w := &watching{t: t, registry: prometheus.NewRegistry(), wire: &wire{open: map[*body]bool{}}}
	admin, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	w.admin = admin
	w.namespace = w.newNamespace()
	cfg := rest.CopyConfig(env.Config)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { w.wire.RoundTripper = rt; return w.wire })
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	config := Config{Client: client, Namespaces: []string{w.namespace}, Sink: w.sink, Log: logr.Discard(), Registerer: w.registry}
	for _, o := range options {
		o(&config, w)
	}
	if w.source, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.source.Run(ctx, nil) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not end")
		}
		utilnet.CloseIdleConnectionsFor(httpClient.Transport)
	})
	t.Cleanup(w.stop)
	return w
}

func (w *watching) newNamespace() string {
	w.t.Helper()
	name := fmt.Sprintf("test-%d", cluster.namespaces.Add(1))
	w.must(w.admin.CoreV1().Namespaces().Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	return name
}

func (w *watching) must(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) sink(_ context.Context, signals []incident.Signal) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return 0, w.refuse
	}
	w.signals = append(w.signals, signals...)
	return len(signals), nil
}

func (w *watching) refusing(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = err
}

func (w *watching) told() []incident.Signal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]incident.Signal(nil), w.signals...)
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

// summary is what was told, in short.
func (w *watching) summary() string {
	var lines []string
	for _, s := range w.told() {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", s.Kind, s.Type, s.Resource.Name, s.Container))
	}
	return strings.Join(lines, "; ")
}

// await waits until a condition is met.
func (w *watching) await(what string, met func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("it never came to this: %s; told %s", what, w.summary())
		}
	}
}

func (w *watching) awaitSynced() {
	w.t.Helper()
	w.await("everything is watched", func() bool {
		_, all := w.source.WatchedSince()
		return w.source.Synced() && all
	})
}

// awaitObserved waits until n occurrences are told, and holds that no key is told twice.
func (w *watching) awaitObserved(n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d occurrences are told", n), func() bool { return len(keys(w.told())) >= n })
	seen := map[string]bool{}
	for _, key := range keys(w.told()) {
		if seen[key] {
			w.t.Errorf("%s was told twice", key)
		}
		seen[key] = true
	}
	if len(seen) != n {
		w.t.Errorf("%d occurrences were told, want %d", len(seen), n)
	}
}

// start makes a Pod whose container runs.
func (w *watching) start(namespace, name string) *corev1.Pod {
	w.t.Helper()
	grace := int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       corev1.PodSpec{NodeName: "n1", TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "app", Image: "localhost/app:1"}}},
	}
	pod, err := w.admin.CoreV1().Pods(namespace).Create(w.t.Context(), pod, metav1.CreateOptions{})
	w.must(pod, err)
	return w.restart(pod, 0)
}

// restart writes a Pod's status: its container runs after its nth restart.
func (w *watching) restart(pod *corev1.Pod, n int32) *corev1.Pod {
	w.t.Helper()
	id := func(n int32) string { return fmt.Sprintf("containerd://%s-%d", pod.UID, n) }
	now, started := metav1.Now(), true
	st := corev1.ContainerStatus{
		Name: "app", RestartCount: n, ContainerID: id(n), Ready: true, Started: &started, Image: "localhost/app:1",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
	}
	if n > 0 {
		st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", StartedAt: now, FinishedAt: now, ContainerID: id(n - 1)}
	}
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{st}}
	pod, err := w.admin.CoreV1().Pods(pod.Namespace).UpdateStatus(w.t.Context(), pod, metav1.UpdateOptions{})
	w.must(pod, err)
	return pod
}

func (w *watching) remove(pod *corev1.Pod) {
	w.t.Helper()
	w.must(nil, w.admin.CoreV1().Pods(pod.Namespace).Delete(w.t.Context(), pod.Name, metav1.DeleteOptions{}))
}
