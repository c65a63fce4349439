package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/feed"
)

func TestStreamsOfOneClientLeaveRoomForThoseOfOthers(t *testing.T) {
	c := &streamCount{most: 40, mostEach: 30, byClient: map[string]int{}, changed: func(int) {}}
	open := func(client string) (n int) {
		for {
			_, err := c.enter(client)
			if err != nil {
				var status huma.StatusError
				if errors.As(err, &status) && status.GetStatus() != http.StatusTooManyRequests {
					t.Errorf("%s: %v", client, err)
				}
				return n
			}
			n++
		}
	}
	if n := open("mallory"); n != 20 {
		t.Errorf("alone mallory got %d of 40, want half", n)
	}
	for _, client := range []string{"anna", "bert"} {
		if n := open(client); n < 5 {
			t.Errorf("%s got %d, want some", client, n)
		}
	}
}

// shortFeed lets streams read from the history nearly everything.
func shortFeed(c *Config) {
	c.Feed = feed.New(feed.Config{History: c.Actions.(acting).store, Encode: api.EncodeEvent, Log: logr.Discard(), Tail: 10})
}

func TestStreamsThatReadTheHistoryAndAreNotReadTakeABoundedPartOfTheMemory(t *testing.T) {
	const together, streams, events = 4, 80, 3000
	f := newFixture(t, shortFeed, func(c *Config) { c.Access, c.Limits.CatchUps, c.Limits.ClientStreams = anyName{}, together, streams })
	f.record(t, events)
	address := f.listen(t)
	before := capacitytest.Footprint()
	for range streams {
		c := dial(t, address)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) //nolint:forcetypeassert // it is one
		if _, err := io.WriteString(c, requestFor("/events/stream?after=0", "Authorization: Bearer mallory")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all streams are open, and wait for their turn", func() bool {
		used, waiting := f.gates.catchUps.Used()
		return f.streams.count() == streams && used > 0 && waiting > streams/2
	})
	if took, limit := capacitytest.Footprint()-before, int64(together*capacity.CatchUp+streams*(capacity.Connection+capacity.Stream)); took > limit {
		t.Errorf("%d streams took %s, want at most %s", streams, capacity.Text(took), capacity.Text(limit))
	}
	c := dial(t, address)
	if _, err := io.WriteString(c, requestFor("/events/stream?after=0", "Authorization: Bearer anna")); err != nil {
		t.Fatal(err)
	}
	buf, got, tail := make([]byte, 64<<10), 0, ""
	for got < events {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("anna was told %d of %d events: %v", got, events, err)
		}
		text := tail + string(buf[:n])
		got += strings.Count(text, "event: event\n")
		tail = text[max(strings.LastIndexByte(text, '\n')+1, 0):]
	}
}

// A storm makes the tail go on faster than its readers, who wait for what is new: what it has dropped by then they read
// from the history, which takes room as any catch-up does.
func TestStreamsThatAStormLeavesBehindTakeABoundedPartOfTheMemory(t *testing.T) {
	const together, streams = 4, 80
	f := newFixture(t, shortFeed, func(c *Config) { c.Access, c.Limits.CatchUps, c.Limits.ClientStreams = anyName{}, together, streams })
	address := f.listen(t)
	for range streams {
		c := dial(t, address)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10) //nolint:forcetypeassert // it is one
		if _, err := io.WriteString(c, requestFor("/events/stream", "Authorization: Bearer mallory")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all streams are open", func() bool { return f.streams.count() == streams })
	before := capacitytest.Footprint()
	f.record(t, 3000)
	eventually(t, "streams wait for their turn", func() bool { used, waiting := f.gates.catchUps.Used(); return used > 0 && waiting > streams/2 })
	if took, limit := capacitytest.Footprint()-before, int64(together*capacity.CatchUp+streams*(capacity.Connection+capacity.Stream)); took > limit {
		t.Errorf("%d streams took %s, want at most %s", streams, capacity.Text(took), capacity.Text(limit))
	}
}

func TestALongListOfHooksIsWrittenPieceByPiece(t *testing.T) {
	f := newFixture(t)
	for path, want := range map[string]string{"/hooks?namespace=" + shop: `"namespace":"shop"`, "/hooks?namespace=nowhere": `"items":[]`, "/hooks?format=yaml&namespace=" + shop: "kind: Hook"} {
		w := askServer(f.Server, http.MethodGet, api.Base+path, "")
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// crowded is a cluster with many large Hooks.
type crowded struct {
	client.Reader
	hooks []v1alpha2.Hook
}

func (c crowded) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha2.HookList).Items = c.hooks //nolint:forcetypeassert // nothing else is asked for
	return nil
}

// counted is a ResponseWriter that keeps nothing but the size.
type counted struct {
	header http.Header
	bytes  int
}

func (c *counted) Header() http.Header         { return c.header }
func (c *counted) WriteHeader(int)             {}
func (c *counted) Write(p []byte) (int, error) { c.bytes += len(p); return len(p), nil }

func TestExportingManyLargeHooksTakesTheMemoryOfOne(t *testing.T) {
	const hooks, configs = 100, 20
	cluster := crowded{hooks: make([]v1alpha2.Hook, hooks)}
	for i := range cluster.hooks {
		h := theHook()
		h.Name = fmt.Sprint("large-", i)
		for range configs {
			h.Spec.EventConfigurations = append(h.Spec.EventConfigurations, v1alpha2.EventConfiguration{EventType: "oom-kill", Prompt: largePrompt})
		}
		cluster.hooks[i] = *h
	}
	f := newFixture(t, func(c *Config) { c.Hooks, c.Limits.RequestTimeout = cluster, time.Hour })
	for _, path := range []string{"/hooks?format=yaml", "/hooks?limit=1000"} {
		w := &counted{header: http.Header{}}
		took := capacitytest.Peak(func() {
			r := httptest.NewRequest(http.MethodGet, "http://localhost"+api.Base+path, nil)
			f.Handler().ServeHTTP(w, r)
		})
		if whole := hooks * configs * len(largePrompt); w.bytes < whole {
			t.Fatalf("%s: %d bytes of %d", path, w.bytes, whole)
		}
		if took > 6<<20 {
			t.Errorf("%s of %s took %s", path, capacity.Text(int64(w.bytes)), capacity.Text(took))
		}
	}
}

var largePrompt = strings.Repeat("Why was {{.ResourceName}} killed? ", 250)
