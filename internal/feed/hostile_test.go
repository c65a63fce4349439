package feed

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// counting is a history that counts the rows that are read from it.
type counting struct {
	*store.Store
	rows, widest atomic.Int64 // rows; and the most numbers of the sequence that one look went over
}

func (c *counting) EventChanges(ctx context.Context, f store.ChangeFilter, after, upTo int64, limit int) ([]store.EventChange, error) {
	changes, err := c.Store.EventChanges(ctx, f, after, upTo, limit)
	c.rows.Add(int64(len(changes)))
	c.widest.Store(max(c.widest.Load(), upTo-after))
	return changes, err
}

// crowd records events of a namespace, many in one transaction.
func (fx *fixture) crowd(namespace string, events int) {
	fx.t.Helper()
	err := fx.store.WriteRelaxed(fx.t.Context(), func(tx *store.Tx) error {
		var c store.Changes
		for range events {
			fx.n++
			s := &incident.Signal{
				Key: fmt.Sprint("crowd-", fx.n), Kind: incident.Observed, Type: incident.PodRestart, At: time.Now(), Count: 1,
				Observation: incident.Observation{
					Resource: incident.Resource{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint("pod-", fx.n), UID: fmt.Sprint("uid-", fx.n)},
				},
			}
			inc := incident.Open(incident.Origin{}, s)
			e := incident.NewEvent(inc, s, time.Now())
			e.ID = tx.NextEvent()
			c.Events, c.Incidents = append(c.Events, e), append(c.Incidents, inc)
		}
		return tx.Save(fx.t.Context(), &c)
	})
	if err != nil {
		fx.t.Fatal(err)
	}
}

func TestAReaderOfOneNamespaceHasOnlyItsOwnChangesReadAndEncoded(t *testing.T) {
	st := open(t)
	fx := &fixture{t: t, store: st}
	for range 6 { // more than one look goes over
		fx.crowd("others", 500)
		fx.crowd("mine", 10)
	}
	history, encoded := &counting{Store: st}, atomic.Int64{}
	f := New(Config{History: history, Tail: 10, Encode: func(e *incident.Event, _ time.Time) ([]byte, error) {
		encoded.Add(1)
		return []byte(fmt.Sprint(e.ID)), nil
	}})
	if err := f.advance(t.Context()); err != nil { // it begins at the end
		t.Fatal(err)
	}
	r, err := f.Read(t.Context(), Filter{Namespace: "mine"}, Start{After: 0})
	if err != nil {
		t.Fatal(err)
	}
	last, err := st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r.Position() < last {
		b, err := r.Next(t.Context())
		if err != nil || b.Gap != nil {
			t.Fatalf("%+v, %v", b.Gap, err)
		}
		for _, m := range b.Messages {
			lines = append(lines, line(m.Seq, m.Event))
		}
	}
	if want := fx.all(Filter{Namespace: "mine"}, 0); !slices.Equal(lines, want) || len(want) != 60 {
		t.Errorf("it got %d changes of %d", len(lines), len(want))
	}
	if history.rows.Load() != 60 || encoded.Load() != 60 {
		t.Errorf("%d rows were read and %d encoded for 60 of its own", history.rows.Load(), encoded.Load())
	}
	if most := history.widest.Load(); most > window {
		t.Errorf("one look went over %d changes, at most %d are wanted", most, window)
	}
}

func TestWhatAReaderGotStaysWhateverTheTailDrops(t *testing.T) {
	f := New(Config{Tail: 4, Encode: func(e *incident.Event, _ time.Time) ([]byte, error) { return []byte(fmt.Sprint(e.ID)), nil }})
	add := func(from, to int64) {
		var messages []*Message
		for seq := from; seq <= to; seq++ {
			m, err := f.encode(store.EventChange{Seq: seq, Event: &incident.Event{ID: seq}})
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, m)
		}
		f.add(messages, to)
	}
	add(1, 4)
	for seq := range int64(100) { // the tail moves through its memory, and now and then to another
		got, _, _, ok := f.after(seq, batch)
		if !ok || len(got) != 4 {
			t.Fatalf("%d messages of 4", len(got))
		}
		add(seq+5, seq+5)
		for i, m := range got {
			if want := seq + int64(i) + 1; m == nil || m.Seq != want {
				t.Fatalf("message %d became %v when the tail dropped it", want, m)
			}
		}
	}
}

// TestManyReadersWhileTheTailIsTrimmed is for the race detector as well.
func TestManyReadersWhileTheTailIsTrimmed(t *testing.T) {
	f := New(Config{Tail: 8, Encode: func(e *incident.Event, _ time.Time) ([]byte, error) { return []byte(fmt.Sprint(e.ID)), nil }})
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	var total atomic.Int64
	for range 16 {
		reading.Go(func() {
			for position := int64(0); ctx.Err() == nil; {
				messages, to, changed, ok := f.after(position, 4)
				if !ok {
					position = f.Head()
					continue
				}
				for _, m := range messages {
					if m == nil || m.Seq <= position || m.Seq > to {
						t.Errorf("after %d, up to %d: %v", position, to, m)
						return
					}
					total.Add(1)
				}
				if position = to; len(messages) == 0 {
					select {
					case <-changed:
					case <-ctx.Done():
					}
				}
			}
		})
	}
	for seq := int64(1); seq < 2000 || total.Load() < 2000; seq++ {
		m, err := f.encode(store.EventChange{Seq: seq, Event: &incident.Event{ID: seq}})
		if err != nil {
			t.Fatal(err)
		}
		f.add([]*Message{m}, seq)
	}
	stop()
	reading.Wait()
}

// shortened is a history that is shortened right before it is read.
type shortened struct {
	*store.Store
	first atomic.Int64 // what is before is deleted; 0 for nothing
	next  atomic.Int64 // first, when it is read the next time
}

func (s *shortened) FirstChange(ctx context.Context) (int64, error) {
	first, err := s.Store.FirstChange(ctx)
	return max(first, s.first.Load()), err
}

func (s *shortened) EventChanges(ctx context.Context, f store.ChangeFilter, after, upTo int64, limit int) ([]store.EventChange, error) {
	s.first.Store(s.next.Load())
	return s.Store.EventChanges(ctx, f, max(after, s.first.Load()-1), upTo, limit)
}

func TestWhatIsDeletedBetweenTwoLooksIsToldAsAGap(t *testing.T) {
	st := open(t)
	fx := &fixture{t: t, store: st}
	fx.crowd("mine", 100)
	history := &shortened{Store: st}
	f := New(Config{History: history, Tail: 10, Encode: func(e *incident.Event, _ time.Time) ([]byte, error) { return []byte(fmt.Sprint(e.ID)), nil }})
	if err := f.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := f.Head()
	history.next.Store(last / 2)
	r, err := f.Read(t.Context(), Filter{}, Start{After: 0})
	if err != nil {
		t.Fatal(err)
	}
	var gaps []Gap
	for r.Position() < last {
		b, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.Gap != nil {
			gaps = append(gaps, *b.Gap)
		}
	}
	if len(gaps) != 1 || gaps[0].From != 1 || gaps[0].To != last/2-1 {
		t.Errorf("the gaps %v, want one from 1 to %d", gaps, last/2-1)
	}
}
