package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/proptest"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// newFileLedger is a ledger on a real file.
func newFileLedger(t testing.TB, hooks ...*v1alpha2.Hook) *Ledger {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: filepath.Join(t.TempDir(), "khook.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	set := hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})
	for _, h := range hooks {
		set.Put(h)
	}
	l, err := New(t.Context(), Config{}, st, set)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// picky is a bench on a file in which the test makes rules: SQLite itself refuses rows.
type picky struct {
	*bench
	path string
	sql  *sql.DB
}

func newPicky(t *testing.T, hooks ...*v1alpha2.Hook) *picky {
	t.Helper()
	pgtest.OnlySQLite(t)
	path := filepath.Join(t.TempDir(), "khook.db")
	st, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Close(), st.Close() })
	b := &bench{T: t, clock: clocktesting.NewFakePassiveClock(start), store: st, hooks: hook.NewSet(hook.Policy{AgentNamespaces: []string{"kagent"}})}
	for _, h := range hooks {
		if errs := b.hooks.Put(h); len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	b.restart()
	return &picky{bench: b, path: path, sql: db}
}

func (p *picky) exec(statement string) {
	p.Helper()
	if _, err := p.sql.ExecContext(p.Context(), statement); err != nil {
		p.Fatal(err)
	}
}

// refuse lets a table refuse the rows that meet a condition.
func (p *picky) refuse(table, condition string) {
	p.Helper()
	for _, when := range []string{"INSERT", "UPDATE"} {
		p.exec(fmt.Sprintf("CREATE TRIGGER refuse_%s_%s BEFORE %s ON %s WHEN %s BEGIN SELECT RAISE(ABORT, 'this row is refused'); END", table, when, when, table, condition))
	}
}

func (p *picky) accept(table string) {
	p.Helper()
	for _, when := range []string{"INSERT", "UPDATE"} {
		p.exec("DROP TRIGGER refuse_" + table + "_" + when)
	}
}

// record gives signals as the source does, until all are settled.
func (p *picky) record(signals ...incident.Signal) {
	p.Helper()
	for i := range signals {
		signals[i].At = p.clock.Now()
	}
	for len(signals) > 0 {
		n, err := p.ledger.Record(p.Context(), signals)
		if err != nil {
			p.Fatal(err)
		}
		signals = signals[n:]
	}
}

func (p *picky) letters() []*incident.DeadLetter {
	p.Helper()
	letters, err := p.store.DeadLetters(p.Context(), 10_000)
	if err != nil {
		p.Fatal(err)
	}
	return letters
}

// events lists the keys of a namespace's events in the order in which they were recorded.
func (p *picky) events(namespace string) []string {
	p.Helper()
	rows, err := p.sql.QueryContext(p.Context(), "SELECT event_key FROM events WHERE namespace = ? ORDER BY id", namespace)
	if err != nil {
		p.Fatal(err)
	}
	defer rows.Close()
	var keys []string
	for rows.Next() {
		var key string
		if err := rows.Scan(&key); err != nil {
			p.Fatal(err)
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		p.Fatal(err)
	}
	return keys
}

func TestWhereverRowsCannotBeSavedAllOthersAreRecordedOnceAndInOrder(t *testing.T) {
	p := newPicky(t, newHook("h", on(incident.PodRestart)))
	p.refuse("events", "NEW.name LIKE 'poison%'")
	p.refuse("incidents", "NEW.name LIKE 'odd%'")
	run := 0
	proptest.Check(t, 100, func(rt *rapid.T) {
		run++
		namespace := fmt.Sprintf("run-%d", run)
		var signals []incident.Signal
		var want []string
		incidents := 0 // that were opened
		open := map[string]bool{}
		poisoned := map[string]bool{}
		for i := range rapid.IntRange(1, 20).Draw(rt, "signals") {
			pod := rapid.SampledFrom([]string{"cart-1", "cart-2", "pay-1", "poison-1", "poison-2", "odd-1"}).Draw(rt, "pod")
			s := seen(incident.PodRestart, pod, i)
			good := !strings.HasPrefix(pod, "poison") && !strings.HasPrefix(pod, "odd")
			healthy := rapid.IntRange(0, 3).Draw(rt, "kind") == 0
			if healthy {
				s = sign(incident.Healthy, incident.PodRestart, pod)
			}
			s.Resource.Namespace, s.Resource.UID = namespace, namespace+pod
			s.Key = namespace + s.Key
			switch {
			case healthy:
				open[pod] = false
			case !good:
				poisoned[s.Key] = true
			default:
				want = append(want, s.Key)
				if !open[pod] {
					incidents++
				}
				open[pod] = true
			}
			signals = append(signals, s)
		}
		for i := range signals {
			signals[i].At = start
		}
		for rest := signals; len(rest) > 0; {
			ctx, cancel := context.WithCancel(t.Context())
			if rapid.IntRange(0, 4).Draw(rt, "outage") == 0 {
				cancel() // nothing can be written: that is nobody's fault
			}
			n, err := p.ledger.Record(ctx, rest[:min(len(rest), rapid.IntRange(1, 40).Draw(rt, "batch"))])
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				rt.Fatal(err)
			}
			rest = rest[n:]
		}
		if got := p.events(namespace); !slices.Equal(got, want) {
			rt.Fatalf("recorded:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		opened := 0
		if err := p.sql.QueryRowContext(t.Context(), "SELECT count(*) FROM incidents WHERE namespace = ?", namespace).Scan(&opened); err != nil || opened != incidents {
			rt.Fatalf("%d incidents, want %d (%v)", opened, incidents, err)
		}
		aside := map[string]bool{}
		for _, d := range p.letters() {
			if d.Signal.Resource.Namespace == namespace {
				aside[d.Signal.Key] = true
			}
		}
		for key := range poisoned {
			if !aside[key] {
				rt.Fatalf("%s was neither recorded nor put aside", key)
			}
		}
		if len(aside) != len(poisoned) {
			rt.Fatalf("%d dead letters for %d signals that can't be recorded", len(aside), len(poisoned))
		}
		if _, err := p.store.DropDeadLetters(t.Context()); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestOneRowOfAThousandIsFoundInFewTransactions(t *testing.T) {
	p := newPicky(t)
	p.refuse("events", "NEW.name = 'poison-1'")
	for _, at := range []int{0, 500, 999} {
		signals := storm(1000)
		for i := range signals {
			signals[i].Key, signals[i].Resource.UID = fmt.Sprint(at, signals[i].Key), fmt.Sprint(at, signals[i].Resource.UID)
		}
		signals[at].Resource.Name = "poison-1"
		p.seen = nil
		p.record(signals...)
		recorded := 0
		for _, a := range p.seen {
			recorded += len(a.Events)
		}
		if recorded != 999 || len(p.seen) > 12 {
			t.Errorf("at %d: %d events in %d commits", at, recorded, len(p.seen))
		}
	}
	if letters := p.letters(); len(letters) != 3 || letters[0].Fault != incident.BadConstraint || !strings.Contains(letters[0].Error, "this row is refused") {
		t.Errorf("%d dead letters, such as %+v", len(letters), letters)
	}
}

func TestADeadLetterIsReplayedWhenItCanBeRecorded(t *testing.T) {
	p := newPicky(t, newHook("h", on(incident.PodRestart)))
	p.refuse("events", "NEW.name = 'cart-1'")
	p.record(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1))
	p.record(seen(incident.PodRestart, "cart-1", 1)) // seen again, as after a restart: still one letter
	if letters := p.letters(); len(letters) != 1 || letters[0].Times != 2 || letters[0].Recorded || p.deliveries() != 1 {
		t.Fatalf("%+v, %d deliveries", letters, p.deliveries())
	}
	replay := func() []*incident.DeadLetter {
		t.Helper()
		if _, err := p.store.ReplayDeadLetters(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.ledger.ReplayWanted(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p.letters()
	}
	if letters := replay(); len(letters) != 1 || letters[0].Wanted {
		t.Errorf("while it is refused: %+v", letters)
	}
	p.accept("events")
	if err := p.ledger.ReplayWanted(t.Context()); err != nil || len(p.letters()) != 1 {
		t.Errorf("nobody asked for it: %v", err)
	}
	if letters := replay(); len(letters) != 0 || p.deliveries() != 2 {
		t.Errorf("%d letters, %d deliveries", len(letters), p.deliveries())
	}
	wantEqual(t, p.events("shop"), []string{"pod-restart/pay-1/1", "pod-restart/cart-1/1"})
}

func TestACallThatCannotBeSavedKeepsNoEventFromBeingRecorded(t *testing.T) {
	p := newPicky(t, newHook("h", on(incident.PodRestart)))
	p.refuse("deliveries", "NEW.grp = 'Deployment/cart'")
	p.record(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1))
	wantEqual(t, p.dispositions(), []string{"cart-1 pod-restart invalid", "pay-1 pod-restart delivered"})
	if letters := p.letters(); len(letters) != 1 || !letters[0].Recorded {
		t.Fatalf("%+v", letters)
	}
	p.accept("deliveries")
	if _, err := p.store.ReplayDeadLetters(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.ledger.ReplayWanted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.deliveries() != 2 || len(p.letters()) != 0 || len(p.events("shop")) != 2 {
		t.Errorf("%d deliveries, %d letters, events %v", p.deliveries(), len(p.letters()), p.events("shop"))
	}
}

func TestWhatIsNoRowsFaultIsNeverPutAside(t *testing.T) {
	for name, fault := range map[string]struct{ begin, end func(p *picky) }{
		"a history that refuses every row":  {func(p *picky) { p.refuse("events", "true") }, func(p *picky) { p.accept("events") }},
		"a history that refuses every call": {func(p *picky) { p.refuse("deliveries", "true") }, func(p *picky) { p.accept("deliveries") }},
		"numbers that are used already": {
			func(p *picky) { p.exec("UPDATE clusters SET seq = 0") },
			func(p *picky) { p.exec("UPDATE clusters SET seq = 1000") },
		},
		"another leader": {
			func(p *picky) {
				if err := p.store.Lead(p.Context()); err != nil {
					p.Fatal(err)
				}
				p.exec("UPDATE clusters SET term = term + 1")
			},
			func(p *picky) { p.exec("UPDATE clusters SET term = term - 1") },
		},
		"a lock": {
			func(p *picky) {
				p.sql.SetMaxOpenConns(1)
				p.exec("BEGIN IMMEDIATE")
			},
			func(p *picky) { p.exec("ROLLBACK") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPicky(t, newHook("h", on(incident.PodRestart)))
			p.record(seen(incident.PodRestart, "pay-1", 1))
			fault.begin(p)
			signals := []incident.Signal{seen(incident.PodRestart, "cart-1", 1)}
			signals[0].At = start
			if n, err := p.ledger.Record(t.Context(), signals); n != 0 || err == nil {
				t.Errorf("%d signals were settled, %v", n, err)
			}
			fault.end(p)
			if letters := p.letters(); len(letters) != 0 {
				t.Errorf("put aside: %+v", letters[0])
			}
			p.record(signals...)
			wantEqual(t, p.events("shop"), []string{"pod-restart/pay-1/1", "pod-restart/cart-1/1"})
		})
	}
}

func TestWhatCannotEvenBePutAsideIsKeptInMemory(t *testing.T) {
	p := newPicky(t)
	p.refuse("events", "NEW.name = 'cart-1'")
	p.refuse("dead_letters", "true")
	for n := range maxUnsaved + 5 {
		p.record(seen(incident.PodRestart, "cart-1", n))
	}
	p.record(seen(incident.PodRestart, "pay-1", 1))
	wantEqual(t, p.events("shop"), []string{"pod-restart/pay-1/1"})
	dropped := 0
	for _, a := range p.seen {
		dropped += a.Dropped
	}
	if p.ledger.Unsaved() != maxUnsaved || dropped != 5 {
		t.Errorf("%d are kept, %d were dropped", p.ledger.Unsaved(), dropped)
	}
	p.accept("dead_letters")
	if err := p.ledger.ReplayWanted(t.Context()); err != nil || p.ledger.Unsaved() != 0 || len(p.letters()) != maxUnsaved {
		t.Errorf("%v; %d are in memory, %d in the history", err, p.ledger.Unsaved(), len(p.letters()))
	}
}

func TestAnIncidentWhoseEndCannotBeSavedKeepsNoOtherOpen(t *testing.T) {
	p := newPicky(t)
	p.record(seen(incident.PodRestart, "cart-1", 1), seen(incident.PodRestart, "pay-1", 1), seen(incident.PodRestart, "till-1", 1))
	p.refuse("incidents", "NEW.name = 'pay-1'")
	p.after(time.Hour)
	if err := p.ledger.EndQuiet(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, p.incidents(), []string{
		"pod-restart cart-1 events=1 duplicates=0 quiet", "pod-restart pay-1 events=1 duplicates=0", "pod-restart till-1 events=1 duplicates=0 quiet",
	})
	if at, some := p.ledger.NextQuiet(start); !some || !at.After(p.clock.Now()) {
		t.Errorf("it is tried again at %s", at)
	}
	p.accept("incidents")
	p.after(endAgain)
	if err := p.ledger.EndQuiet(t.Context(), start); err != nil || p.ledger.OpenCount() != 0 {
		t.Errorf("%v, %d open", err, p.ledger.OpenCount())
	}
}

func TestHostileBytesMakeNoDeadLetterAndOneIdentity(t *testing.T) {
	p := newPicky(t, newHook("h", on(incident.PodRestart)))
	uids := []string{"a\x00b", "a\x00c", "\xff\xfe", strings.Repeat("long", 100_000), strings.Repeat("long", 100_000) + "!", "a\nb"}
	for range 2 {
		for i, uid := range uids {
			s := seen(incident.PodRestart, fmt.Sprintf("w%d-1", i), 1)
			s.Resource.UID, s.Key = uid, "key of "+uid
			s.Workload.Name, s.Container, s.Message = "w\x00"+uid, "app\x00", "\x00\xff"
			p.record(s)
		}
		p.restart() // what it goes on from is what it wrote
	}
	if n := len(p.events("shop")); n != len(uids) || p.ledger.OpenCount() != len(uids) || len(p.letters()) != 0 {
		t.Errorf("%d events and %d open incidents of %d, %d dead letters", n, p.ledger.OpenCount(), len(uids), len(p.letters()))
	}
	var bad int
	if err := p.sql.QueryRowContext(t.Context(), "SELECT count(*) FROM incidents WHERE length(uid) > 128 OR length(workload) > 253 OR instr(uid, char(0)) > 0").Scan(&bad); err != nil || bad != 0 {
		t.Errorf("%d rows have what PostgreSQL refuses, or too much of it (%v)", bad, err)
	}
}
