package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kagent-dev/khook/internal/store"
)

// intake is a test of wishes: a replica asks, and the suite's own store leads.
type intake struct {
	*suite
	asker *store.Store
}

func (s *suite) intake() *intake {
	s.Helper()
	i := &intake{s, s.opened()}
	s.must(s.st.Lead(s.Context()))
	return i
}

func (i *intake) ask(id string) *store.Wish {
	i.Helper()
	w := &store.Wish{ID: id, Kind: "cancel", Payload: `{"delivery":"d"}`, By: "ann", At: start}
	i.must(i.asker.Ask(i.Context(), w))
	i.must(i.asker.Ask(i.Context(), w)) // whose answer was lost
	w.State = store.WishWaiting
	return w
}

func (i *intake) is(id string, want store.WishState) {
	i.Helper()
	if w, err := i.asker.Reader().Wish(i.Context(), id); err != nil || w.State != want {
		i.Errorf("wish %q is %s, want %s: %v", id, w.State, want, err)
	}
}

// fulfil records what the wish is for, in a transaction that fails with an error.
func (i *intake) fulfil(id string, failed error) error {
	ctx := store.WithWish(i.Context(), id)
	return i.st.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Fulfil(ctx); err != nil {
			return err
		}
		_, c := record(tx, observed("by "+id, start))
		return errors.Join(tx.Save(ctx, c), failed)
	})
}

// wishes: what a person wants of a replica that does not lead is done once, and its answer is there for who asked.
func (s *suite) wishes() {
	ctx, i := s.Context(), s.intake()
	want := i.ask("done")
	waiting, err := s.st.WaitingWishes(ctx, 10)
	s.must(err)
	s.same("what waits", []store.Wish{*want}, waiting)
	failed := errors.New("not now")
	if err := i.fulfil("done", failed); !errors.Is(err, failed) {
		s.Errorf("an attempt that comes to nothing: %v", err)
	}
	i.is("done", store.WishWaiting)
	s.must(i.fulfil("done", nil))
	i.is("done", store.WishDone)
	if err := i.fulfil("done", nil); !errors.Is(err, store.ErrWithdrawn) {
		s.Errorf("it is done again: %v", err)
	}
	if back, err := i.asker.Withdraw(ctx, "done"); err != nil || back {
		s.Errorf("what is done is taken back: %t, %v", back, err)
	}
	s.must(s.st.AnswerWish(ctx, "done", `{"delivery":"d"}`))
	i.is("done", store.WishAnswered)
	if w, err := i.asker.Reader().Wish(ctx, "done"); err != nil || w.Answer != `{"delivery":"d"}` {
		s.Errorf("the answer is %+v: %v", w, err)
	}
	if _, err := s.st.Prune(ctx, time.Now().Add(-24*time.Hour)); err != nil {
		s.Error(err)
	}
	if _, err := i.asker.Reader().Wish(ctx, "done"); !errors.Is(err, store.ErrNotFound) {
		s.Errorf("an old wish is kept: %v", err)
	}
}

// wishesUndone: what was taken back or refused is not done.
func (s *suite) wishesUndone() {
	ctx, i := s.Context(), s.intake()
	i.ask("taken back")
	if back, err := i.asker.Withdraw(ctx, "taken back"); err != nil || !back {
		s.Errorf("it can't be taken back: %t, %v", back, err)
	}
	s.must(s.st.AnswerWish(ctx, "taken back", "{}"))
	i.is("taken back", store.WishWithdrawn)
	i.ask("refused")
	s.must(s.st.AnswerWish(ctx, "refused", `{"refused":"no"}`))
	for _, id := range []string{"taken back", "refused", "nobody's"} {
		if err := i.fulfil(id, nil); !errors.Is(err, store.ErrWithdrawn) {
			s.Errorf("%s: it is done: %v", id, err)
		}
		s.nothingOf(s.st, "by "+id)
	}
	if waiting, err := s.st.WaitingWishes(ctx, 10); err != nil || len(waiting) != 0 {
		s.Errorf("these still wait: %+v, %v", waiting, err)
	}
}

// wishesRace: a wish is done or taken back, never both, whoever is first.
func (s *suite) wishesRace() {
	ctx := s.Context()
	asker := s.opened()
	s.must(s.st.Lead(ctx))
	for n := range 20 {
		id := fmt.Sprint("w", n)
		s.must(asker.Ask(ctx, &store.Wish{ID: id, At: time.Now()}))
		var done, back atomic.Int64
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				wish := store.WithWish(ctx, id)
				switch err := s.st.Write(wish, func(tx *store.Tx) error { return tx.Fulfil(wish) }); {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, store.ErrWithdrawn):
					s.Error(err)
				}
			})
		}
		wg.Go(func() {
			withdrawn, err := asker.Withdraw(ctx, id)
			if err != nil {
				s.Error(err)
			}
			if withdrawn {
				back.Add(1)
			}
		})
		wg.Wait()
		if done.Load()+back.Load() != 1 {
			s.Errorf("%s was done %d times, and taken back %d times", id, done.Load(), back.Load())
		}
	}
}

func (s *suite) wishesBounded() {
	ctx := s.Context()
	if err := s.st.Ask(ctx, &store.Wish{ID: "large", Payload: strings.Repeat("x", store.MaxWishPayload+1)}); err == nil {
		s.Error("a wish may be as large as one likes")
	}
	for n := range store.MaxWishes {
		s.must(s.st.Ask(ctx, &store.Wish{ID: fmt.Sprint(n), At: start}))
	}
	if err := s.st.Ask(ctx, &store.Wish{ID: "too many", At: start}); !errors.Is(err, store.ErrIntakeFull) {
		s.Errorf("there is room for too many: %v", err)
	}
	if _, err := s.st.Withdraw(ctx, "7"); err != nil {
		s.Error(err)
	}
	s.must(s.st.Ask(ctx, &store.Wish{ID: "instead", At: start}))
}

// terms: each begins with a number that nothing of an earlier one can have, and says so.
func (s *suite) terms() {
	ctx := s.Context()
	last := func() int64 {
		n, err := s.st.LastChange(ctx)
		s.must(err)
		return n
	}
	newest := func() store.Term {
		term, led, err := s.st.NewestTerm(ctx)
		s.must(err)
		if !led {
			s.Fatal("nobody has led")
		}
		return term
	}
	if _, led, err := s.st.NewestTerm(ctx); err != nil || led {
		s.Errorf("somebody has led before anybody did: %v", err)
	}
	s.must(s.st.Lead(ctx))
	if t := newest(); t.No != 1 || t.Reached != 0 || t.First != 1 || last() != 0 {
		s.Errorf("the first term of a history: %+v, and the sequence is at %d", t, last())
	}
	s.added("one", start)
	end := last()
	s.must(s.st.Lead(ctx))
	t := newest()
	if t.No != 2 || t.Reached != end || t.First < end+100_000 || last() != t.First-1 {
		s.Errorf("the second term: %+v, and the sequence is at %d", t, last())
	}
	s.added("two", start)
	changes, err := s.st.EventChanges(ctx, store.ChangeFilter{}, end, last(), 10)
	s.must(err)
	if len(changes) != 1 || changes[0].Seq < t.First {
		s.Errorf("the changes of the second term: %+v, and it begins with %d", changes, t.First)
	}
	for position, want := range map[int64]bool{0: false, end - 1: false, end: true, end + 1: true, t.First - 2: true, t.First - 1: false, t.First: false, last(): false, last() + 1: false} {
		from, to, skipped, err := s.st.Skipped(ctx, position)
		s.must(err)
		if skipped != want || skipped && (from != end || to != t.First-1) {
			s.Errorf("position %d of %d..%d is left out: %t, %d..%d", position, end, t.First, skipped, from, to)
		}
	}
}

// termsKept: what a new term leaves out is known also where the history was deleted.
func (s *suite) termsKept() {
	ctx := s.Context()
	newest := func() store.Term {
		term, _, err := s.st.NewestTerm(ctx)
		s.must(err)
		return term
	}
	s.must(s.st.Lead(ctx))
	s.added("one", start)
	s.must(s.st.Lead(ctx))
	t := newest()
	if _, err := s.st.Prune(ctx, time.Now().Add(time.Hour)); err != nil {
		s.Error(err)
	}
	if kept := newest(); kept != t {
		s.Errorf("after old history was deleted the term is %+v", kept)
	}
	s.must(s.st.Lead(ctx))
	if next := newest(); next.Reached < t.First-1 || next.First <= next.Reached+100_000 {
		s.Errorf("after old history was deleted the next term is %+v", next)
	}
}
