package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// call records a delivery for a namespace, and changes it some times.
func (fx *fixture) call(namespace string, changes int) {
	fx.t.Helper()
	fx.n++
	d := &delivery.Delivery{
		ID: fmt.Sprint("delivery-", fx.n), Hook: delivery.HookRef{Namespace: namespace, Name: "memory"}, EventType: incident.OOMKill, State: delivery.Pending, CreatedAt: time.Now(),
		Prompt: "what was asked", Answer: "what was said",
	}
	for n := range changes {
		d.Attempt = n
		err := fx.store.WriteRelaxed(fx.t.Context(), func(tx *store.Tx) error {
			return tx.Save(fx.t.Context(), &store.Changes{Deliveries: []*delivery.Delivery{d}})
		})
		if err != nil {
			fx.t.Fatal(err)
		}
	}
	fx.Wake()
}

// stories are encoders of what a test looks at: the last state of each.
func stories(cfg Config) Config {
	cfg.EncodeIncident = func(i *incident.Incident) ([]byte, error) { return fmt.Appendf(nil, "%s %q", i.ID, i.Resolution), nil }
	cfg.EncodeDelivery = func(d *delivery.Delivery) ([]byte, error) {
		return fmt.Appendf(nil, "%s %d%s%s", d.ID, d.Attempt, d.Prompt, d.Answer), nil
	}
	return cfg
}

func TestAReaderOfEveryKindEndsWithWhatThereIs(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, stories(Config{Tail: 30, Poll: 20 * time.Millisecond}))
	type reading struct {
		filter Filter
		slow   bool
		last   map[Subject]string
	}
	readings := []*reading{
		{filter: Filter{Kinds: Events | Incidents | Deliveries}}, {filter: Filter{Kinds: Events | Incidents | Deliveries}, slow: true},
		{filter: Filter{Kinds: Incidents, Namespace: "shop"}, slow: true}, {filter: Filter{Kinds: Deliveries}}, {filter: Filter{Kinds: Incidents | Deliveries, Type: incident.OOMKill}}, {filter: Filter{}},
		{filter: Filter{Kinds: Deliveries | Incidents, Name: "pod-7"}},
	}
	var wg sync.WaitGroup
	stop, last := make(chan struct{}), int64(0)
	for _, r := range readings {
		reader, err := fx.Read(t.Context(), r.filter, Start{After: 0})
		if err != nil {
			t.Fatal(err)
		}
		r.last = map[Subject]string{}
		wg.Go(func() {
			if r.slow {
				<-stop // it finds all of it in the history
			}
			at, wait := int64(0), 50*time.Millisecond
			for over := false; ; {
				was := reader.Position()
				ctx, cancel := context.WithTimeout(t.Context(), wait) // what is not selected returns nothing
				b, err := reader.Next(ctx)
				cancel()
				if err != nil && over && reader.Position() == was {
					wait = min(2*wait, 10*time.Second) // a slow machine does not even read a batch in that time
				}
				if b.Gap != nil || err != nil && !errors.Is(err, context.DeadlineExceeded) || t.Context().Err() != nil {
					t.Errorf("%v %v", err, b.Gap)
					return
				}
				for _, m := range b.Messages {
					if m.Seq <= at || !r.filter.Selects(m) {
						t.Errorf("%d after %d: %+v", m.Seq, at, m)
					}
					at, r.last[m.Subject()] = m.Seq, string(m.Data)
				}
				if over && reader.Position() >= last {
					return
				}
				select {
				case <-stop:
					over = true
				default:
				}
			}
		})
	}
	const n = 120
	for i := range n {
		fx.fail([]string{"shop", "pay"}[i%2], i%3 == 0)
		fx.call([]string{"shop", "pay"}[i%2], 1+i%4)
	}
	var err error
	if last, err = st.LastChange(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	for i, r := range readings[:2] {
		want := map[Kind]int{KindEvent: n, KindIncident: n, KindDelivery: n}
		got := map[Kind]int{}
		for s, text := range r.last {
			kind := s.kind
			if s.event != 0 {
				kind = KindEvent
			}
			got[kind]++
			if kind == KindDelivery && text != fmt.Sprintf("%s %d", s.id, attemptsOf(t, st, s.id)) {
				t.Errorf("reader %d: %s", i, text)
			}
		}
		for kind := range want {
			if got[kind] != want[kind] {
				t.Errorf("reader %d got %d of %s", i, got[kind], kind)
			}
		}
	}
	for i, most := range map[int]int{2: n / 2, 3: n, 5: n, 6: 1} {
		if got := len(readings[i].last); got != most {
			t.Errorf("reader %d of %+v got %d", i, readings[i].filter, got)
		}
	}
}

func attemptsOf(t *testing.T, st *store.Store, id string) int {
	t.Helper()
	d, err := st.Delivery(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d.Attempt
}

// TestABatchIsCutWhereOneOfItsKindsEnds: what is read to its end must not take the position past what is not.
func TestABatchIsCutWhereOneOfItsKindsEnds(t *testing.T) {
	st := open(t)
	fx := newFixture(t, st, stories(Config{}))
	for range batch {
		fx.fail("shop", true) // an event, and two changes of it and its incident each
	}
	for range batch {
		fx.call("shop", 1)
	}
	last, err := st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	seen := map[Kind]map[Subject]bool{KindEvent: {}, KindIncident: {}, KindDelivery: {}}
	for at := int64(0); at < last; {
		messages, reach, err := fx.read(t.Context(), Filter{Kinds: Events | Incidents | Deliveries}, at, last)
		if err != nil || reach <= at {
			t.Fatal(reach, err)
		}
		for _, m := range messages {
			if m.Seq <= at || m.Seq > reach {
				t.Errorf("%d is not in (%d, %d]", m.Seq, at, reach)
			}
			seqs, seen[m.Kind][m.Subject()] = append(seqs, m.Seq), true
		}
		at = reach
	}
	if !slices.IsSorted(seqs) || len(slices.Compact(slices.Clone(seqs))) != len(seqs) {
		t.Error("the numbers are not in order")
	}
	got := map[Kind]int{}
	for kind, subjects := range seen {
		got[kind] = len(subjects)
	}
	if diff := cmp.Diff(map[Kind]int{KindEvent: batch, KindIncident: batch, KindDelivery: batch}, got); diff != "" {
		t.Error(diff)
	}
}
