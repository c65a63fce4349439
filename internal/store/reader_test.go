package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// countingHandle counts the statements that go through a handle.
type countingHandle struct {
	handle
	n int
}

func (c *countingHandle) query(ctx context.Context, text string, args []any) (*sql.Rows, func(), error) {
	c.n++
	return c.handle.query(ctx, text, args)
}

func TestPeopleWhoTakeAllOfTheirConnectionsDoNotMakeKhookWait(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, save(t.Context(), st, "k"))
	people := st.Reader()
	for range readers { // questions that take for ever
		done, err := people.api.takeSlot(t.Context())
		must(t, err)
		defer done()
	}
	waiting, give := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() { _, err := people.Incident(waiting, "x"); asked <- err }()
	for name, ask := range map[string]func() error{
		"incident":  func() error { _, err := st.Incident(t.Context(), "x"); return err },
		"delivery":  func() error { _, err := st.Delivery(t.Context(), "x"); return err },
		"last":      func() error { _, err := st.LastChange(t.Context()); return err },
		"unchanged": func() error { return save(t.Context(), st, "k2") },
	} {
		if err := ask(); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case err := <-asked:
		t.Errorf("people are answered on khook's own connections: %v", err)
	default:
	}
	give()
	if err := <-asked; err == nil {
		t.Error("people are answered on khook's own connections")
	}
}

func TestTheStatementsForAListOfHooksDoNotGrowWithTheHooks(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, save(t.Context(), st, "k"))
	from, to := long.Add(-time.Hour), long.Add(time.Hour)
	asked := func(n int) int {
		hooks := []delivery.HookRef{shopHook}
		for i := range n - 1 {
			hooks = append(hooks, delivery.HookRef{Namespace: "ns", Name: fmt.Sprint(i)})
		}
		people := *st.Reader()
		counted := &countingHandle{handle: people.handle}
		people.handle = counted
		found, err := people.HookSummaries(t.Context(), hooks, from, to, from)
		if must(t, err); len(found) != n {
			t.Errorf("%d of %d Hooks are there", len(found), n)
		}
		return counted.n
	}
	if few, many := asked(1), asked(100); many != few {
		t.Errorf("%d statements for 100 Hooks, %d for one", many, few)
	}
	if most := asked(1000); most > 2*10+1 {
		t.Errorf("%d statements for 1000 Hooks", most)
	}
}

// TestTheSummaryOfHooksIsThatOfEach holds the one query for many to the ones for each.
func TestTheSummaryOfHooksIsThatOfEach(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		inc, c := recordFor(tx, "k", long, 2)
		c.Deliveries = []*delivery.Delivery{due(inc, delivery.Succeeded)}
		return tx.Save(t.Context(), c)
	}))
	from, to := long.Add(-time.Hour).Truncate(time.Hour), long.Add(time.Hour).Truncate(time.Hour)
	other := delivery.HookRef{Namespace: "other", Name: "hook"}
	people := st.Reader()
	found, err := people.HookSummaries(t.Context(), []delivery.HookRef{shopHook, other}, from, to, from)
	must(t, err)
	for _, hook := range []delivery.HookRef{shopHook, other} {
		want := &HookSummary{}
		want.Open, want.LastFired, err = people.HookSummary(t.Context(), hook)
		must(t, err)
		want.Deliveries, err = people.HookDeliveriesMade(t.Context(), hook, from, to)
		must(t, err)
		budgeted, err := people.Precedents(nil).CountDeliveries(t.Context(), hook, "", from, 100)
		must(t, err)
		want.Budgeted = int64(budgeted)
		want.Counts, err = people.HookCounts(t.Context(), hook, from, to)
		must(t, err)
		if !reflect.DeepEqual(found[hook], want) {
			t.Errorf("%s: %+v, want %+v", hook, found[hook], want)
		}
	}
	if found[shopHook].LastFired.IsZero() || len(found[shopHook].Counts) == 0 {
		t.Errorf("nothing was found: %+v", found[shopHook])
	}
}
