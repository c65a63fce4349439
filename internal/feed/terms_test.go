package feed

import (
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

func lead(t *testing.T, st *store.Store) store.Term {
	t.Helper()
	err := st.Lead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	term, led, err := st.NewestTerm(t.Context())
	if err != nil || !led {
		t.Fatalf("nobody leads: %v", err)
	}
	return term
}

// TestAPositionOfALostHistoryIsAGap: a history was restored from a backup, or a standby took over that had not all of it. Readers have numbers of
// what is lost; none of them may mean something else by now.
func TestAPositionOfALostHistoryIsAGap(t *testing.T) {
	st := open(t)
	lead(t, st)
	fx := newFixture(t, st, Config{})
	for range 3 {
		fx.fail("shop", false)
	}
	term := lead(t, st) // of the history that was restored; the lost one had gone on
	here := fx.all(Filter{}, 0)
	for _, goesOn := range []bool{false, true} {
		if goesOn { // the end of the sequence is beyond all positions
			for range 3 {
				fx.fail("shop", false)
			}
		}
		end, err := st.LastChange(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fresh := fx.all(Filter{}, term.Reached)
		for name, c := range map[string]struct {
			after int64
			gap   *Gap
			lines []string
		}{
			"who has seen all that is left":   {term.Reached, nil, fresh},
			"who began when the term did":     {term.First - 1, nil, fresh},
			"who has seen one that is lost":   {term.Reached + 1, &Gap{From: term.Reached + 1, To: term.Reached + 1}, fresh},
			"who has seen many that are lost": {term.Reached + 1000, &Gap{From: term.Reached + 1, To: term.Reached + 1000}, fresh},
			"whose number nobody gave out":    {term.First - 2, &Gap{From: term.Reached + 1, To: term.First - 2}, fresh},
			"who has seen none":               {0, nil, slices.Concat(here, fresh)},
		} {
			r, err := fx.Read(t.Context(), Filter{}, Start{After: c.after})
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			var gaps []Gap
			if goesOn || c.gap != nil || c.after == 0 {
				lines, gaps = read(t, r, end, func() {})
			}
			if diff := cmp.Diff(c.lines, lines); diff != "" {
				t.Errorf("%s, goes on: %t (-want +got)\n%s", name, goesOn, diff)
			}
			switch {
			case c.gap == nil && len(gaps) > 0:
				t.Errorf("%s is told that something is missing: %+v", name, gaps)
			case c.gap != nil && (len(gaps) != 1 || gaps[0].From != c.gap.From || gaps[0].To != c.gap.To):
				t.Errorf("%s is told of %+v, want %+v", name, gaps, c.gap)
			}
		}
	}
}

func TestAReaderThatGoesOnIsToldWhatTheDatabaseLost(t *testing.T) {
	st := open(t)
	lead(t, st)
	fx := newFixture(t, st, Config{Poll: time.Hour})
	fx.fail("shop", false)
	end, err := st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The feed of a replica that stays up: it had seen more than what is left.
	f := New(Config{History: st, Encode: func(*incident.Event, time.Time) ([]byte, error) { return []byte("{}"), nil }, Log: logr.Discard()})
	f.from, f.head = end, end+5
	close(f.started)
	r, err := f.Read(t.Context(), Filter{}, Start{After: end + 5})
	if err != nil {
		t.Fatal(err)
	}
	r.checked = true
	term := lead(t, st)
	fx.fail("shop", false)
	if err := f.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := r.Next(t.Context())
	if err != nil || b.Gap == nil || b.Gap.From != end+1 || b.Gap.To != end+5 {
		t.Fatalf("it is told %+v of what is lost: %v", b, err)
	}
	if b, err = r.Next(t.Context()); err != nil || len(b.Messages) != 1 || b.Messages[0].Seq < term.First {
		t.Errorf("then it gets %+v: %v", b, err)
	}
}
