package feed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Tests(m)) }

// fixture is a history with a feed of it.
type fixture struct {
	*Feed
	t     testing.TB
	store *store.Store
	n     int // events that were recorded
}

func open(t testing.TB) *store.Store {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: filepath.Join(t.TempDir(), "khook.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func newFixture(t testing.TB, st *store.Store, cfg Config) *fixture {
	t.Helper()
	cfg.History, cfg.Log = st, logr.Discard()
	cfg.Encode = func(e *incident.Event, _ time.Time) ([]byte, error) {
		return []byte(fmt.Sprintf(`{"id":%d,"status":%q}`, e.ID, e.Status)), nil
	}
	fx := &fixture{Feed: New(cfg), t: t, store: st}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = fx.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return fx
}

// fail records an event of a namespace, and ends its incident if over.
func (fx *fixture) fail(namespace string, over bool) {
	fx.t.Helper()
	fx.n++
	s := &incident.Signal{
		Key: fmt.Sprint("k", fx.n, "-", rand.Int()), Kind: incident.Observed, Type: incident.EventTypes()[fx.n%4], At: time.Now(), Count: 1, Observation: incident.Observation{
			Reason: "Error", Resource: incident.Resource{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint("pod-", fx.n), UID: fmt.Sprint("uid-", fx.n)},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"},
		},
	}
	inc := incident.Open(incident.Origin{}, s)
	err := fx.store.WriteRelaxed(fx.t.Context(), func(tx *store.Tx) error {
		e := incident.NewEvent(inc, s, time.Now())
		e.ID = tx.NextEvent()
		return tx.Save(fx.t.Context(), &store.Changes{Events: []*incident.Event{e}, Incidents: []*incident.Incident{inc}})
	})
	if err == nil && over {
		inc.Resolve(incident.Recovered, time.Now())
		err = fx.store.WriteRelaxed(fx.t.Context(), func(tx *store.Tx) error {
			return tx.Save(fx.t.Context(), &store.Changes{Incidents: []*incident.Incident{inc}})
		})
	}
	if err != nil {
		fx.t.Fatal(err)
	}
	fx.Wake()
}

// all is what a reader should have got of the history, as "seq status".
func (fx *fixture) all(filter Filter, after int64) []string {
	fx.t.Helper()
	changes, err := fx.store.EventChanges(fx.t.Context(), store.ChangeFilter{}, after, math.MaxInt64, 1_000_000)
	if err != nil {
		fx.t.Fatal(err)
	}
	var lines []string
	for _, c := range changes {
		if filter.Matches(c.Event) {
			lines = append(lines, line(c.Seq, c.Event))
		}
	}
	return lines
}

func line(seq int64, e *incident.Event) string {
	return strconv.FormatInt(seq, 10) + " " + string(e.Status) + " " + e.Resource.Namespace
}

// read takes what comes until the position reaches to.
func read(t testing.TB, r *Reader, to int64, each func()) (lines []string, gaps []Gap) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); r.Position() < to; {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // what is not selected returns nothing
		b, err := r.Next(ctx)
		cancel()
		if err != nil && (!errors.Is(err, context.DeadlineExceeded) || time.Now().After(deadline)) {
			t.Errorf("at %d of %d: %v", r.Position(), to, err)
			return lines, gaps
		}
		if b.Gap != nil {
			gaps = append(gaps, *b.Gap)
		}
		for _, m := range b.Messages {
			lines = append(lines, line(m.Seq, m.Event))
		}
		each()
	}
	return lines, gaps
}

func TestEveryReaderGetsEveryChangeOnceInOrderWhateverItsSpeed(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, Config{Tail: 20, Poll: 20 * time.Millisecond})
	var wg sync.WaitGroup
	const changes = 300
	type reading struct {
		filter Filter
		lines  []string
		after  int64
	}
	readings := make([]*reading, 40)
	end := make(chan int64, len(readings))
	for i := range readings {
		readings[i] = &reading{filter: Filter{Namespace: []string{"", "shop", "pay"}[i%3], Status: []incident.Status{"", incident.Firing, incident.Resolved}[i/3%3]}}
		r, err := fx.Read(t.Context(), readings[i].filter, End)
		if err != nil {
			t.Fatal(err)
		}
		readings[i].after = r.Position()
		wg.Go(func() {
			to := int64(1 << 62)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				select {
				case n := <-end:
					to = n
				case <-ctx.Done():
				}
				cancel()
			}()
			slow := i%4 == 0
			take := func(ctx context.Context) error {
				b, err := r.Next(ctx)
				for _, m := range b.Messages {
					readings[i].lines = append(readings[i].lines, line(m.Seq, m.Event))
				}
				if slow {
					time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // so that the tail moves on meanwhile
				}
				return err
			}
			for take(ctx) == nil { // until the end is known
			}
			rest, _ := read(t, r, to, func() {})
			readings[i].lines = append(readings[i].lines, rest...)
		})
	}
	for i := range changes {
		fx.fail([]string{"shop", "pay", "infra"}[i%3], i%5 == 0)
	}
	last, err := st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range readings {
		end <- last
	}
	wg.Wait()
	for i, r := range readings {
		if want := fx.all(r.filter, r.after); !slices.Equal(r.lines, want) {
			t.Errorf("reader %d (%+v) got %d changes, want %d", i, r.filter, len(r.lines), len(want))
		}
	}
}

func TestAReaderGoesOnWhereItWas(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, Config{Tail: 10, Poll: 10 * time.Millisecond})
	for range 50 {
		fx.fail("shop", true)
	}
	last, _ := st.LastChange(t.Context())
	var got []string
	for at := int64(0); at < last; {
		r, err := fx.Read(t.Context(), Filter{}, Start{After: at})
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Next(t.Context())
		if err != nil || b.Gap != nil {
			t.Fatalf("%v %+v", err, b.Gap)
		}
		n := min(len(b.Messages), 7) // and then it is disconnected
		for _, m := range b.Messages[:n] {
			got, at = append(got, line(m.Seq, m.Event)), m.Seq
		}
		if n == len(b.Messages) {
			at = b.Position
		}
	}
	if want := fx.all(Filter{}, 0); !slices.Equal(got, want) {
		t.Errorf("%d changes, want %d", len(got), len(want))
	}
}

func TestAReaderCanBeginAtATime(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, Config{})
	fx.fail("shop", false)
	time.Sleep(2 * time.Millisecond) // the clock of the store is the real one
	since := time.Now()
	fx.fail("pay", true)
	r, err := fx.Read(t.Context(), Filter{}, Start{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	last, _ := st.LastChange(t.Context())
	if got, _ := read(t, r, last, func() {}); len(got) != 2 || got[0][len(got[0])-3:] != "pay" {
		t.Errorf("%q", got)
	}
}

func TestAReaderIsToldWhatItMissed(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, Config{Tail: 5, Poll: 10 * time.Millisecond})
	for range 30 {
		fx.fail("shop", true)
	}
	cut, _ := st.LastChange(t.Context())
	if _, err := st.Prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	first, _ := st.FirstChange(t.Context())
	if first != cut+1 {
		t.Fatalf("the log begins with %d after %d", first, cut)
	}
	fx.fail("shop", false)
	for what, c := range map[string]struct {
		after, from, to int64
	}{
		"what was deleted":   {10, 11, cut},
		"from the beginning": {0, 1, cut},
	} {
		r, err := fx.Read(t.Context(), Filter{}, Start{After: c.after})
		if err != nil {
			t.Fatal(err)
		}
		last, _ := st.LastChange(t.Context())
		got, gaps := read(t, r, last, func() {})
		if len(gaps) != 1 || gaps[0].From != c.from || gaps[0].To != c.to || len(got) != 1 {
			t.Errorf("%s: %+v, %q", what, gaps, got)
		}
	}
	last, _ := st.LastChange(t.Context())
	r, err := fx.Read(t.Context(), Filter{}, Start{After: last + 1000})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Next(t.Context())
	if err != nil || b.Gap == nil || b.Gap.To != last+1000 || b.Position != last {
		t.Errorf("a position of another history: %+v %v", b, err)
	}
}

func TestAChangeOfAnotherProcessIsSeenWithoutBeingWoken(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, Config{Poll: 10 * time.Millisecond})
	r, err := fx.Read(t.Context(), Filter{}, End)
	if err != nil {
		t.Fatal(err)
	}
	other := &fixture{Feed: New(Config{}), t: t, store: st} // which nobody runs
	other.fail("shop", false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if b, err := r.Next(ctx); err != nil || len(b.Messages) != 1 {
		t.Errorf("%+v %v", b, err)
	}
}

func TestAReaderThatIsCanceledSaysSo(t *testing.T) {
	fx := newFixture(t, open(t), Config{})
	r, err := fx.Read(t.Context(), Filter{}, End)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
