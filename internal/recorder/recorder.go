// Package recorder watches a cluster and makes a recording of it that internal/replay plays: the Pods and the Events about
// them, as khook itself would have seen them.
//
// It keeps only what detection reads. Values of environment variables, commands and the like never get into it, nor do the
// names of Secrets and ConfigMaps, also not in the messages that name them.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/skew"
)

// MaxBytes bounds a recording that has no other bound. It is held in memory until it ends, since only then all names that must
// not be in it are known.
const MaxBytes = 64 << 20

// Options say what is recorded.
type Options struct {
	Cluster    *rest.Config
	Namespaces []string      // all if empty
	Selector   string        // labels of the Pods; all if empty
	For        time.Duration // until ctx ends if 0
	Anonymize  bool
	MaxBytes   int    // MaxBytes if 0
	Version    string // of this program

	Tell    func(string) // is told what a person should know while it runs
	Observe func(Record) // is called for each record, in order, and must not wait; may be nil
}

// Record is one watch event of a recording.
type Record = recording.Record

// Recorder makes one recording.
type Recorder struct {
	options Options
	kube    *kubernetes.Clientset
	start   time.Time     // by the clock of the API server
	began   time.Time     // the same moment, by this machine's
	full    chan struct{} // closed when the recording has no room for more

	mu      sync.Mutex
	lines   []line
	bytes   int
	isFull  bool
	ended   time.Duration
	leftOut []string
	pods    map[string]*seenObject // by namespace and name
	events  map[string]*seenObject
	early   []earlyEvent
	names   names
	counts  Counts
}

// line is one record before it is written.
type line struct {
	t      time.Duration
	typ    watch.EventType
	listed bool
	object any // *corev1.Pod or *eventsv1.Event, without what must not be told
}

// Counts is what there is in a recording.
type Counts struct {
	Pods, PodVersions, Events int
	Took                      time.Duration
	Full                      bool // it ended because it had no room for more
}

// ErrNothing is returned where no Pod and no Event was seen.
var ErrNothing = errors.New("no Pod and no Event was seen: is it the right namespace, and the right selector?")

// New finds out what may be recorded, and whether there is anything to record from.
func New(ctx context.Context, o Options) (*Recorder, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = MaxBytes
	}
	r := &Recorder{options: o, full: make(chan struct{}), pods: map[string]*seenObject{}, events: map[string]*seenObject{}, names: newNames()}
	cfg, meter := rest.CopyConfig(o.Cluster), &skew.Meter{}
	cfg.Wrap(meter.Wrap)
	cfg.QPS, cfg.Burst = 50, 100
	var err error
	if r.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, err
	}
	if _, err := r.kube.Discovery().ServerVersion(); err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("ask the API server: %w", err)
	}
	r.began = time.Now()
	r.start = r.began
	if ahead, within, known := meter.Ahead(); known && ahead.Abs() > within+time.Second {
		r.start = r.began.Add(-ahead)
		o.Tell(fmt.Sprintf("this machine's clock is %s off from the API server's, whose is taken", ahead.Abs().Round(time.Second)))
	}
	if err := r.namespacesExist(ctx); err != nil {
		return nil, err
	}
	r.nodes(ctx)
	return r, nil
}

// namespacesExist refuses a name that is none, which would be watched in vain.
func (r *Recorder) namespacesExist(ctx context.Context) error {
	for _, ns := range r.options.Namespaces {
		_, err := r.kube.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("there is no namespace %s", ns)
		}
	}
	return nil
}

// nodes learns the names of all nodes, which messages may have in them, where they are to be replaced.
func (r *Recorder) nodes(ctx context.Context) {
	if !r.options.Anonymize {
		return
	}
	all, err := r.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		r.leave("the names of nodes on which no recorded Pod is stay in messages: %v", err)
		return
	}
	for i := range all.Items {
		r.names.node(all.Items[i].Name)
	}
}

// leave notes that something is not in the recording as it should be, and tells it.
func (r *Recorder) leave(format string, args ...any) {
	text := incident.Clean(fmt.Sprintf(format, args...), incident.MaxMessage)
	r.mu.Lock()
	r.leftOut = append(r.leftOut, text)
	r.mu.Unlock()
	r.options.Tell(text)
}

// Run records until its time is up, ctx ends, or there is no room for more.
func (r *Recorder) Run(ctx context.Context) (Counts, error) {
	watches, err := r.watches(ctx)
	if err != nil {
		return Counts{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for _, w := range watches {
		running.Go(func() { w.run(ctx) })
	}
	var up <-chan time.Time
	if r.options.For > 0 {
		timer := time.NewTimer(r.options.For)
		defer timer.Stop()
		up = timer.C
	}
	select {
	case <-ctx.Done():
	case <-up:
	case <-r.full:
		r.options.Tell(fmt.Sprintf("the recording has reached its bound of %d MiB and ends", r.options.MaxBytes>>20))
	}
	cancel()
	running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = time.Since(r.began)
	r.counts.Took, r.counts.Full = r.ended, r.isFull
	if len(r.lines) == 0 {
		return r.counts, ErrNothing
	}
	return r.counts, nil
}

// Write writes the recording, after Run.
func (r *Recorder) Write(out io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	about := recording.About{
		Start: r.start.UTC().Truncate(time.Millisecond), Khook: r.options.Version, Namespaces: r.options.Namespaces, Selector: r.options.Selector,
		Anonymized: r.options.Anonymize, LeftOut: r.leftOut,
	}
	public := r.names.public(r.options.Anonymize)
	put := func(l line) error {
		object := l.object
		if _, ofItself := object.(recording.About); !ofItself || r.options.Anonymize {
			var err error
			if object, err = public.cleaned(object); err != nil {
				return err
			}
		}
		text, err := recording.Line(l.t, l.typ, l.listed, object)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	if err := put(line{0, watch.Added, false, about}); err != nil {
		return err
	}
	for _, l := range r.lines {
		if err := put(l); err != nil {
			return err
		}
	}
	return put(line{r.ended, watch.Deleted, false, about})
}
