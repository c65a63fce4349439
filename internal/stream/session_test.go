package stream

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/review"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
	"github.com/kagent-dev/khook/internal/store/storetest"
)

// doubtful is a caller of whose right it can't always be found out.
type doubtful struct {
	may   bool
	fails error
	asked int
}

func (d *doubtful) MayRead(context.Context, string) (bool, error) {
	d.asked++
	return d.may && d.fails == nil, d.fails
}
func (*doubtful) Allow(context.Context, string) error                   { return nil }
func (*doubtful) LimitControl() (time.Duration, bool)                   { return 0, true }
func (*doubtful) EnterCatchUp(context.Context) (*capacity.Pass, error)  { return nil, nil } //nolint:nilnil // as much as there is
func (*doubtful) Refuse(w http.ResponseWriter, code int, detail string) { http.Error(w, detail, code) }

// newSession is a session over a history with some events, which reads from its beginning, and the number of the
// newest change.
func newSession(t *testing.T, caller Caller, events int) (s *Session, newest int64) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: ":memory:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := storetest.Fill(t.Context(), st, events, time.Now()); err != nil {
		t.Fatal(err)
	}
	newest, err = st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	live := feed.New(feed.Config{History: st, Encode: api.EncodeEvent, Log: logr.Discard(), Tail: 10})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = live.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	reader, err := live.Read(t.Context(), feed.Filter{}, feed.Start{After: 0})
	if err != nil {
		t.Fatal(err)
	}
	s = &Session{Reader: reader, Caller: caller, Metrics: NewMetrics(prometheus.NewRegistry())}
	s.begin()
	return s, newest
}

func TestAStreamEndsSoonAfterTheRightIsTakenAway(t *testing.T) {
	d := &doubtful{may: true}
	s, _ := newSession(t, d, 1000)
	due := func() { s.checked = time.Now().Add(-recheck) }
	due()
	if err := s.mayStill(t.Context()); err != nil || d.asked != 1 {
		t.Fatalf("while there is the right: %v", err)
	}
	d.may = false
	if err := s.mayStill(t.Context()); err != nil || d.asked != 1 {
		t.Fatalf("it is asked again within %s: %v", recheck, err)
	}
	due()
	if err := s.mayStill(t.Context()); !errors.Is(err, errNoRight) {
		t.Error(err)
	}
	due()
	if body := served(t, s); !strings.Contains(body, "may not read this any more") {
		t.Errorf("it says %q", body)
	}
}

// served is what a client gets of a session that ends by itself.
func served(t *testing.T, s *Session) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.serveSSE(t.Context(), w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Body.String()
}

func TestAStreamGoesOnForAWhileWhenKubernetesCannotBeAsked(t *testing.T) {
	for _, fails := range []error{errors.New("connection refused"), review.ErrNotAsked, review.ErrBusy} {
		s, _ := newSession(t, &doubtful{may: true, fails: fails}, 1000)
		s.checked, s.confirmed = time.Now().Add(-recheck), time.Now().Add(time.Minute-review.StaleFor)
		if err := s.mayStill(t.Context()); err != nil {
			t.Errorf("%v: it ended early: %v", fails, err)
		}
		s.checked, s.confirmed = time.Now().Add(-recheck), time.Now().Add(-review.StaleFor)
		if body := served(t, s); !strings.Contains(body, "could not ask Kubernetes") || strings.Contains(body, "may not read") {
			t.Errorf("%v: it says %q", fails, body)
		}
	}
}

func TestWhatAPaceDoesNotHoldIsReadAgain(t *testing.T) {
	const events = 1000
	s, newest := newSession(t, &doubtful{may: true}, events)
	s.rate = newPace(1000)
	seen := map[int64]bool{}
	for last := int64(0); len(seen) < events; {
		if s.rate.full() || s.Reader.Position() >= newest {
			s.rate.limiter.SetLimit(rate.Inf) // time goes on
		}
		messages, _ := s.rate.pass(nil)
		s.rate.limiter.SetLimit(1000)
		if len(messages) == 0 {
			b, err := s.Reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			messages, _ = s.rate.pass(b.Messages)
		}
		if reach, ok := s.rate.forget(); ok {
			s.Reader.Rewind(reach)
		}
		held := 0
		for _, m := range s.rate.held {
			held += len(m.Frame)
		}
		if held > maxHeldBytes+4<<10 {
			t.Fatalf("%d bytes are held", held)
		}
		for _, m := range messages {
			if m.Seq <= last {
				t.Fatalf("%d comes after %d", m.Seq, last)
			}
			last, seen[m.Event.ID] = m.Seq, true
		}
	}
}

func TestThePaceOfAStreamPutsChangesOfOneEventTogether(t *testing.T) {
	message := func(seq, event int64) *feed.Message {
		return &feed.Message{Seq: seq, Event: &incident.Event{ID: event}}
	}
	p := newPace(4) // one at once
	var got []int64
	left := 0
	pass := func(messages ...*feed.Message) {
		now, coalesced := p.pass(messages)
		left += coalesced
		for _, m := range now {
			got = append(got, m.Seq)
		}
	}
	pass(message(1, 1), message(2, 2), message(3, 1), message(4, 3))
	if p.empty() || len(got) == 0 || got[0] != 2 {
		t.Fatalf("%v", got)
	}
	pass(message(5, 3))
	for deadline := time.Now().Add(time.Minute); !p.empty() && time.Now().Before(deadline); {
		time.Sleep(p.nextIn()) // the pace, not a condition
		pass()
	}
	if !slices.Equal(got, []int64{2, 3, 5}) || left != 2 {
		t.Errorf("%v, %d left out", got, left)
	}
}

// FuzzControl feeds the messages of WebSocket clients.
func FuzzControl(f *testing.F) {
	for _, s := range []string{`{"type":"filter","namespace":"shop"}`, `{}`, `[`, "\xff", `{"type":"filter","maxRate":1e308}`, `{"type":"filter","type":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m := readControl(text)
		if m.Type != "filter" && m.Type != "error" {
			t.Fatalf("%+v", m)
		}
		if m.Type == "error" && (m.Reason == "" || len(m.Reason) > incident.MaxMessage) {
			t.Fatalf("%q", m.Reason)
		}
		if _, err := json.Marshal(m); err != nil {
			t.Fatal(err)
		}
	})
}
