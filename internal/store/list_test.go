package store

import (
	"cmp"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/sqlite"
)

var (
	someNamespaces = []string{"shop", "pay", "infra"}
	someStatuses   = []incident.Status{incident.Firing, incident.Duplicate, incident.Resolved}
	otherHook      = delivery.HookRef{Namespace: "shop", Name: "other"}
)

// crowd records events in no order of time, of a few namespaces, workloads and names, with the
// decisions of two hooks: the first about all in its namespace, in one or two configurations, the
// other about some.
func crowd(t testing.TB, st *Store, prefix string, n int) []*incident.Event {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	var events []*incident.Event
	must(t, st.WriteRelaxed(t.Context(), func(tx *Tx) error {
		c := &Changes{}
		for i := range n {
			s := observed(fmt.Sprint(prefix, i), long.Add(time.Duration(rnd.IntN(10_000))*time.Second))
			s.Type = incident.EventTypes()[rnd.IntN(4)]
			s.Resource.Namespace = someNamespaces[rnd.IntN(3)]
			s.Resource.Name = fmt.Sprintf("pod-%02d", rnd.IntN(30))
			s.Workload.Name = s.Resource.Name[:5]
			inc := incident.Open(incident.Origin{}, s)
			e := incident.NewEvent(inc, s, long)
			e.ID = tx.NextEvent()
			e.Status = someStatuses[rnd.IntN(3)]
			events = append(events, e)
			c.Events, c.Incidents = append(c.Events, e), append(c.Incidents, inc)
			decide := func(h delivery.HookRef, config string) {
				c.Decisions = append(c.Decisions, delivery.Decision{EventID: e.ID, IncidentID: inc.ID, Hook: h, Config: config, Disposition: delivery.Delivered, At: e.At})
			}
			if e.Resource.Namespace == "shop" {
				decide(shopHook, "b")
				if i%2 == 0 {
					decide(shopHook, "a")
				}
				if i%7 == 0 {
					decide(otherHook, "a")
				}
			}
		}
		return tx.Save(t.Context(), c)
	}))
	return events
}

func observed(key string, at time.Time) *incident.Signal {
	return &incident.Signal{
		Key: key, Kind: incident.Observed, Type: incident.PodRestart, At: at, Count: 1, Observation: incident.Observation{
			Reason: "Error", Message: "it ended", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: key, UID: "uid-" + key},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"},
		},
	}
}

// all combinations of the filters, with values that select something.
func queriesAbout(of *incident.Event) []EventQuery {
	var all []EventQuery
	for bits := range 1 << 7 {
		q := EventQuery{}
		set := func(bit int, do func()) {
			if bits&(1<<bit) != 0 {
				do()
			}
		}
		set(0, func() { q.Namespace = of.Resource.Namespace })
		set(1, func() { q.Type = of.Type })
		set(2, func() { q.Status = of.Status })
		set(3, func() { q.Name = of.Resource.Name })
		set(4, func() { q.Workload = of.Workload.Name })
		set(5, func() { q.Hook = shopHook })
		set(6, func() { q.From, q.To = boundAt(of.At.Add(-time.Hour)), boundAt(of.At.Add(time.Hour)) })
		for _, sort := range []string{ByTime, ByType, ByName} {
			for _, descending := range []bool{false, true} {
				q.Sort, q.Descending = sort, descending
				all = append(all, q)
			}
		}
	}
	return all
}

// selected is what a query should find, by looking at all events.
func selected(q EventQuery, events []*incident.Event) []int64 {
	var found []*incident.Event
	for _, e := range events {
		if (q.Namespace == "" || e.Resource.Namespace == q.Namespace) && (q.Type == "" || e.Type == q.Type) &&
			(q.Status == "" || e.Status == q.Status) && (q.Name == "" || e.Resource.Name == q.Name) &&
			(q.Workload == "" || e.Workload.Name == q.Workload) && (q.Hook.Name == "" || e.Resource.Namespace == q.Hook.Namespace) &&
			(!q.From.Valid || !e.At.Before(q.From.V)) && (!q.To.Valid || e.At.Before(q.To.V)) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *incident.Event) int {
		c := cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID))
		switch q.Sort {
		case ByType:
			c = cmp.Or(cmp.Compare(a.Type, b.Type), c)
		case ByName:
			c = cmp.Or(cmp.Compare(a.Resource.Name, b.Resource.Name), c)
		}
		if q.Descending {
			return -c
		}
		return c
	})
	ids := make([]int64, 0, len(found))
	for _, e := range found {
		ids = append(ids, e.ID)
	}
	return ids
}

// readPages follows the positions to the end.
func readPages(t *testing.T, st *Store, q EventQuery, limit int, between func()) (ids []int64, totals []int) {
	t.Helper()
	p := Paging{Limit: limit, Count: true}
	for {
		items, total, err := st.Reader().ListEvents(t.Context(), q, p)
		must(t, err)
		totals = append(totals, total.N)
		for _, e := range items {
			ids = append(ids, e.ID)
		}
		if len(items) > limit || total.More && len(items) < limit {
			t.Fatalf("a page of %d has %d, more: %v", limit, len(items), total.More)
		}
		if !total.More {
			return ids, totals
		}
		p.After = q.Position(items[len(items)-1])
		between()
	}
}

func TestFiltersAndOrdersCombineFreely(t *testing.T) {
	st := openStore(t, newPath(t))
	events := crowd(t, st, "k", 600)
	for _, of := range events[:1] {
		for _, q := range queriesAbout(of) {
			want := selected(q, events)
			got, totals := readPages(t, st, q, 61, func() {})
			if got == nil {
				got = []int64{}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%+v (-want +got)\n%s", q, diff)
			}
			for _, n := range totals {
				if n != len(want) {
					t.Fatalf("%+v: total %d, want %d", q, n, len(want))
				}
			}
			items, _, err := st.Reader().ListEvents(t.Context(), q, Paging{Limit: 5, Offset: 3})
			must(t, err)
			for i, e := range items {
				if e.ID != want[3+i] {
					t.Fatalf("%+v: at offset %d is %d, want %d", q, 3+i, e.ID, want[3+i])
				}
			}
		}
	}
}

func TestPagesShowNoEventTwiceAndNoneMissingWhileOthersAreWritten(t *testing.T) {
	st := openStore(t, newPath(t))
	events := crowd(t, st, "k", 400)
	for i, q := range []EventQuery{{}, {Descending: true}, {Namespace: "shop", Descending: true}, {Sort: ByName}, {Sort: ByType, Descending: true}, {Hook: shopHook, Descending: true}} {
		n := 0
		got, _ := readPages(t, st, q, 40, func() {
			n++
			crowd(t, st, fmt.Sprint("new", i, "-", n, "-"), 11)
		})
		seen := map[int64]bool{}
		for _, id := range got {
			if seen[id] {
				t.Errorf("%+v shows %d twice", q, id)
			}
			seen[id] = true
		}
		for _, id := range selected(q, events) {
			if !seen[id] {
				t.Errorf("%+v leaves out %d", q, id)
			}
		}
	}
}

func TestATotalIsALowerBoundBeyondTheBound(t *testing.T) {
	st := openStore(t, newPath(t))
	crowd(t, st, "k", CountBound+500)
	_, total, err := st.Reader().ListEvents(t.Context(), EventQuery{}, Paging{Limit: 10, Count: true})
	must(t, err)
	if total != (Total{N: CountBound, AtLeast: true, More: true}) {
		t.Errorf("total %+v", total)
	}
	_, total, err = st.Reader().ListEvents(t.Context(), EventQuery{Namespace: "shop"}, Paging{Limit: 10, Count: true})
	must(t, err)
	if total.AtLeast || total.N < CountBound/4 || total.N > 3*CountBound/4 {
		t.Errorf("total of a namespace %+v", total)
	}
}

func TestListsAreReadByIndexAndInItsOrder(t *testing.T) {
	st := openStore(t, newPath(t))
	events := crowd(t, st, "k", 1)
	for _, q := range queriesAbout(events[0]) {
		l := q.listing(&sqlite.Engine{})
		text, _ := l.page(Paging{Limit: 50})
		few := q.Name != "" || q.Status == incident.Firing || q.Workload != ""
		for _, step := range planOf(t, st, text) {
			if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, " INDEX ") || strings.Contains(step, "TEMP B-TREE") && !few {
				t.Errorf("%+v\n%s\n  %s", q, text, step)
			}
		}
	}
	for _, l := range []*listing{
		IncidentQuery{}.listing(&sqlite.Engine{}), IncidentQuery{Namespace: "shop", Type: "oom-kill"}.listing(&sqlite.Engine{}), IncidentQuery{Status: incident.Firing, Type: "oom-kill"}.listing(&sqlite.Engine{}),
		IncidentQuery{Type: "oom-kill", Status: incident.Resolved}.listing(&sqlite.Engine{}), IncidentQuery{Name: "x", Namespace: "shop"}.listing(&sqlite.Engine{}), IncidentQuery{Workload: "x"}.listing(&sqlite.Engine{}),
		DeliveryQuery{}.listing(&sqlite.Engine{}), DeliveryQuery{Namespace: "shop"}.listing(&sqlite.Engine{}), DeliveryQuery{Namespace: "shop", Hook: "x", State: "failed"}.listing(&sqlite.Engine{}), DeliveryQuery{State: "failed"}.listing(&sqlite.Engine{}),
		DeliveryQuery{Stalled: true}.listing(&sqlite.Engine{}), DeliveryQuery{Stalled: true, LeftToPeople: true}.listing(&sqlite.Engine{}), DeliveryQuery{Stalled: true, Namespace: "shop", State: "working"}.listing(&sqlite.Engine{}),
	} {
		text, _ := l.page(Paging{Limit: 50})
		for _, step := range planOf(t, st, text) {
			if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, " INDEX ") || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\n  %s", text, step)
			}
		}
	}
}

// TestABeginningOfAnIDFindsWhatItStandsFor: all of it, nothing else, and by the index of the IDs whatever else is asked for.
func TestABeginningOfAnIDFindsWhatItStandsFor(t *testing.T) {
	st := openStore(t, newPath(t))
	crowd(t, st, "x", 400)
	all, _, err := st.Reader().ListIncidents(t.Context(), IncidentQuery{}, Paging{Limit: 1000})
	must(t, err)
	for _, length := range []int{1, 6, 9, 36} { // one character stands for several
		prefix := all[0].ID[:length]
		var want, got []string
		for _, i := range all {
			if strings.HasPrefix(i.ID, prefix) {
				want = append(want, i.ID)
			}
		}
		found, _, err := st.Reader().ListIncidents(t.Context(), IncidentQuery{IDPrefix: prefix}, Paging{Limit: 1000})
		must(t, err)
		for _, i := range found {
			got = append(got, i.ID)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", prefix, diff)
		}
	}
	from := boundAt(long)
	for _, l := range []*listing{
		IncidentQuery{IDPrefix: "6aa12b"}.listing(&sqlite.Engine{}), IncidentQuery{IDPrefix: "6aa12b", Namespace: "shop", Type: "oom-kill", Name: "x", Workload: "y", Status: incident.Firing, From: from, Descending: true}.listing(&sqlite.Engine{}),
		DeliveryQuery{IDPrefix: "6aa12b"}.listing(&sqlite.Engine{}), DeliveryQuery{IDPrefix: "6aa12b", Namespace: "shop", Hook: "x", State: "failed", Incident: "y", From: from, Descending: true}.listing(&sqlite.Engine{}),
	} {
		text, _ := l.page(Paging{Limit: 50})
		if steps := strings.Join(planOf(t, st, text), "\n"); !strings.Contains(steps, "(cluster=? AND id>? AND id<?)") {
			t.Errorf("%s\n  %s", text, steps)
		}
	}
}

func boundAt(t time.Time) sql.Null[time.Time] { return sql.Null[time.Time]{V: t, Valid: true} }
