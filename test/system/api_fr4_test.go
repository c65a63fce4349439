package system

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/cli"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// TestFR4EveryStreamTellsEverythingOnceInOrderWhateverHappens lets many clients with random filters,
// speeds and disconnects follow while Pods fail and khook is killed and started again.
func TestFR4EveryStreamTellsEverythingOnceInOrderWhateverHappens(t *testing.T) {
	const clients, kills, podsPerKill = 200, 3, 8
	kagent := kagenttest.New(t, kagenttest.Options{})
	namespaces, dir := []string{namespace(t), namespace(t)}, t.TempDir()
	args := append(settings(kagent, dir), "--api-auth", "none", "--api-rate-limit", "10000", "--api-rate-burst", "10000", "--api-max-streams-per-client", "1000")
	args = append(args, "--api-bind-address", freeAddress(t))
	khook := controller(t, args...).ready()
	base := "http://" + args[len(args)-1]

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	all := make([]*streamClient, clients)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = newStreamClient(base, namespaces)
		wg.Go(func() { all[i].follow(ctx) })
	}
	for _, c := range all {
		select {
		case <-c.ready:
		case <-ctx.Done():
			t.Fatal("a stream does not begin")
		}
	}
	pods := 0
	for range kills {
		for range podsPerKill {
			pods++
			p := newPod(t, namespaces[pods%2], fmt.Sprint("w", pods), fmt.Sprintf("w%d-abc-1", pods))
			becomes(t, p, 1, []string{"OOMKilled", "Error"}[pods%2])
		}
		khook.kill()
		khook = controller(t, args...)
	}
	khook.ready()
	history := openHistory(t, filepath.Join(dir, "khook.db"))
	defer history.Close()
	eventually(t, "all incidents have ended, as told by the history", func() error {
		changes, err := history.EventChanges(t.Context(), store.ChangeFilter{}, 0, math.MaxInt64, 100_000)
		resolved := 0
		for _, c := range changes {
			if c.Event.Status == incident.Resolved && slices.Contains(namespaces, c.Event.Resource.Namespace) {
				resolved++
			}
		}
		if want := pods + pods/2; resolved < want || err != nil { // each restarted, every second one was OOM-killed too
			return fmt.Errorf("%d of %d, %w", resolved, want, err)
		}
		return nil
	})
	changes, err := history.EventChanges(t.Context(), store.ChangeFilter{}, 0, math.MaxInt64, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		var want []string
		for _, ch := range changes {
			if ch.Seq > c.from() && c.filter.Matches(ch.Event) {
				want = append(want, fmt.Sprintf("%d %s %s", ch.Seq, ch.Event.Status, ch.Event.Resource.Name))
			}
		}
		eventually(t, fmt.Sprintf("client %d has everything", i), func() error {
			got := c.seen()
			if len(got) < len(want) {
				return fmt.Errorf("%d of %d", len(got), len(want))
			}
			return nil
		})
		if got := c.seen(); !slices.Equal(got, want) {
			t.Errorf("client %d (%+v), which left %d times, got\n%s\nwant\n%s", i, c.filter, c.left, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	cancel()
	wg.Wait()
}

// streamClient is a client that reads at its own speed, and leaves and comes back as it likes.
type streamClient struct {
	client.Follower
	filter feed.Filter
	slow   bool
	left   int
	ready  chan struct{}

	mu    sync.Mutex
	start int64
	lines []string
}

func newStreamClient(base string, namespaces []string) *streamClient {
	c := &streamClient{ready: make(chan struct{}), slow: rand.IntN(4) == 0}
	c.Client, c.Query = client.New(base, "", &http.Transport{}, time.Minute), url.Values{}
	if rand.IntN(2) == 0 {
		c.filter.Namespace = namespaces[rand.IntN(2)]
	}
	if rand.IntN(3) == 0 {
		c.filter.Type = []incident.EventType{incident.OOMKill, incident.PodRestart}[rand.IntN(2)]
	}
	if rand.IntN(3) == 0 {
		c.filter.Status = []incident.Status{incident.Firing, incident.Resolved}[rand.IntN(2)]
	}
	for name, value := range map[string]string{"namespace": c.filter.Namespace, "eventType": string(c.filter.Type), "status": string(c.filter.Status)} {
		if value != "" {
			c.Query.Set(name, value)
		}
	}
	return c
}

func (c *streamClient) from() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.start
}

func (c *streamClient) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

// follow comes back until ctx ends, also when it left by itself.
func (c *streamClient) follow(ctx context.Context) {
	for ctx.Err() == nil {
		connected, leave := context.WithCancel(ctx)
		n := rand.IntN(6)
		_ = c.Once(connected, func(f client.Message) error {
			c.take(f)
			if n--; n == 0 && rand.IntN(2) == 0 {
				c.left++
				leave()
			}
			if c.slow {
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // its speed, not a condition
			}
			return nil
		})
		leave()
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond):
		}
	}
}

func (c *streamClient) take(f client.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.Kind {
	case "ready":
		select {
		case <-c.ready:
		default:
			c.start, _ = strconv.ParseInt(f.ID, 10, 64)
			close(c.ready)
		}
	case "event":
		var e api.Event
		if err := json.Unmarshal(f.Data, &e); err != nil {
			c.lines = append(c.lines, err.Error())
		}
		c.lines = append(c.lines, fmt.Sprintf("%s %s %s", f.ID, e.Status, e.ResourceName))
	default:
		c.lines = append(c.lines, f.Kind+" "+string(f.Data))
	}
}

func TestFR4EventsFollowShowsEachEventOnceOverARestart(t *testing.T) {
	ns, dir := namespace(t), t.TempDir()
	address := freeAddress(t)
	kagent := kagenttest.New(t, kagenttest.Options{})
	args := append(settings(kagent, dir), "--api-auth", "none", "--api-bind-address", address)
	p := controller(t, args...).ready()
	var out, errs syncBuffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Main(ctx, []string{"events", "--follow", "-n", ns, "--server", "http://" + address, "-o", "json", "--since", "1h"}, cli.Env{Out: &out, Err: &errs})
	}()
	names := func() []string {
		var all []string
		for line := range strings.Lines(out.String()) {
			var e api.Event
			if json.Unmarshal([]byte(line), &e) == nil && e.Status == incident.Firing {
				all = append(all, e.ResourceName)
			}
		}
		return all
	}
	shows := func(want ...string) {
		t.Helper()
		eventually(t, "the events are shown", func() error {
			if got := names(); !slices.Equal(got, want) {
				return fmt.Errorf("%v, want %v; %s", got, want, errs.String())
			}
			return nil
		})
	}
	becomes(t, newPod(t, ns, "a", "a-abc-1"), 1, "Error")
	shows("a-abc-1")
	p.kill()
	becomes(t, newPod(t, ns, "b", "b-abc-1"), 1, "Error")
	controller(t, args...).ready()
	shows("a-abc-1", "b-abc-1")
	cancel()
	if code := <-ended; code != 0 || !strings.Contains(errs.String(), "coming back") {
		t.Errorf("%d %s", code, errs.String())
	}
}
