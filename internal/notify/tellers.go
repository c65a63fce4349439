package notify

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"github.com/kagent-dev/khook/internal/metric"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

// Options are what the notifiers need of khook.
type Options struct {
	Store       *store.Store
	Cluster     string
	Version     string
	ExternalURL string                                          // of khook's API as people reach it, without a / at the end; no links if empty
	Dashboard   bool                                            // it is at ExternalURL: links lead to its pages
	Unwell      func(context.Context) (parts map[string]string) // the parts of khook that can't do their work now, with the reason
	Clock       clock.WithTicker
	Registerer  prometheus.Registerer
	Log         logr.Logger
	Wrap        func(http.RoundTripper) http.RoundTripper // of tests, around what goes to receivers; nil in production
}

// Tellers tell all notifiers, each by itself.
type Tellers struct {
	options Options
	all     []*teller
}

// New makes the tellers of the notifiers; the error names what of the configuration can't be used.
func New(c *Config, o Options) (*Tellers, error) {
	m := newMetrics(o.Registerer)
	t := &Tellers{options: o}
	o.Unwell = (&partsCache{look: o.Unwell, clock: o.Clock}).get
	for _, n := range c.Notifiers {
		s, err := newSender(n, o.Version)
		if err != nil {
			return nil, fmt.Errorf("notifier %s: %w", n.Name, err)
		}
		if o.Wrap != nil {
			s.client.Transport = o.Wrap(s.client.Transport)
		}
		t.all = append(t.all, &teller{
			Options: o, notifier: n, sender: s, metrics: m, parts: map[string]*unwellPart{},
			room: rate.NewLimiter(rate.Limit(float64(n.MaxPerHour)/3600), max(1, n.MaxPerHour/4)),
		})
		m.begin(n.Name)
	}
	return t, nil
}

// partsCache looks at khook's parts for all notifiers together: whether the history can be written is found out by writing to it.
type partsCache struct {
	look  func(context.Context) map[string]string
	clock clock.PassiveClock

	mu    sync.Mutex
	at    time.Time
	parts map[string]string
}

func (c *partsCache) get(ctx context.Context) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock.Now(); c.parts == nil || now.Sub(c.at) >= partsEvery {
		c.at, c.parts = now, maps.Clone(c.look(ctx))
	}
	return c.parts
}

// Run tells until ctx ends.
func (t *Tellers) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { t.forgetOthers(ctx); return nil })
	for _, one := range t.all {
		group.Go(func() error { return one.run(ctx) })
	}
	return group.Wait()
}

// forgetOthers forgets what waits for notifiers that there are no more. It tries until that is recorded; nobody waits for it.
func (t *Tellers) forgetOthers(ctx context.Context) {
	names := make([]string, 0, len(t.all))
	for _, one := range t.all {
		names = append(names, one.notifier.Name)
	}
	_ = wait.PollUntilContextCancel(ctx, time.Minute, true, func(ctx context.Context) (bool, error) {
		err := t.options.Store.Write(ctx, func(tx *store.Tx) error { return tx.KeepNotifiers(ctx, names) })
		if err != nil && ctx.Err() == nil {
			t.options.Log.Error(err, "cannot forget what waits for notifiers that there are no more, will retry")
		}
		return err == nil, nil
	})
}

// Warnings say which notifiers could not be told, and since when.
func (t *Tellers) Warnings() []string {
	var all []string
	for _, one := range t.all {
		if text := one.warning(); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// Test sends a message that only shows that a notifier works. It makes one attempt, and returns why it was not taken.
func Test(ctx context.Context, n *Notifier, cluster, version string) error {
	s, err := newSender(n, version)
	if err != nil {
		return err
	}
	item := testItem(time.Now())
	if failed := s.send(ctx, &Message{ID: item.ID, Notifier: n.Name, Cluster: cluster, Version: version, Items: []Item{item}}); failed != nil {
		return failed
	}
	return nil
}

// metrics are those of all notifiers. Their names are in the operator's file, and few.
type metrics struct {
	notices  *prometheus.CounterVec
	attempts *prometheus.CounterVec
	waiting  *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{
		notices: metric.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_notices_total", Help: "Notices that were sent, that their receiver refused or did not take within a day (failed), and that were not so any more before (outdated).",
		}, []string{"notifier", "kind", "result"})),
		attempts: metric.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "khook_notify_attempts_total", Help: "Attempts to send a message to a notifier.",
		}, []string{"notifier", "result"})),
		waiting: metric.Register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "khook_notices_waiting", Help: "Notices that wait for a notifier.",
		}, []string{"notifier"})),
	}
}

// begin makes all series exist from the start: a rule that looks for an increase does not see the first one of a new series.
func (m *metrics) begin(notifier string) {
	for _, kind := range notice.Kinds() {
		for _, result := range []notice.State{notice.Sent, notice.Failed, notice.Outdated} {
			m.notices.WithLabelValues(notifier, string(kind), string(result))
		}
	}
	m.attempts.WithLabelValues(notifier, "ok")
	m.attempts.WithLabelValues(notifier, "error")
	m.waiting.WithLabelValues(notifier).Set(0)
}

// trouble is since when, and why, a notifier takes nothing.
type trouble struct {
	mu    sync.Mutex
	since time.Time
	why   string
}

func (t *trouble) is(now time.Time, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		t.since = now
	}
	t.why = why
}

func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since, t.why = time.Time{}, ""
}

func (t *teller) warning() string {
	t.trouble.mu.Lock()
	defer t.trouble.mu.Unlock()
	if t.trouble.since.IsZero() {
		return ""
	}
	return fmt.Sprintf("notifier %s takes nothing since %s, and what it is to be told waits: %s", t.notifier.Name, t.trouble.since.UTC().Format(time.RFC3339), t.trouble.why)
}
