package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kagent-dev/khook/internal/api/client"
)

// watchFlags let a list go on.
type watchFlags struct {
	Watch    bool          `short:"w" help:"Go on with what comes and changes, until Ctrl-C."`
	Interval time.Duration `help:"How often --watch looks." default:"2s" placeholder:"DURATION"`
}

// errWatchOne is returned where one story is to be watched.
var errWatchOne = wrongUsage("--watch is for lists: khook deliveries logs --follow follows one call")

// leastInterval bounds how often a watch looks.
const leastInterval = 100 * time.Millisecond

// showList prints a list, and what becomes of it if it is watched.
func showList[T any](ctx context.Context, env Env, remote *client.Client, p *display, s *shape[T], q url.Values, f *listFlags, sortBy string, w *watchFlags) error {
	s.asksFor(q, sortBy)
	s.several = len(f.Clusters) > 1
	s.within = q.Get("namespace") != "" || f.mustExist != ""
	keep := s.keep
	if keep == nil {
		keep = func(*T) bool { return true }
	}
	look := func() (*foundList[T], error) {
		found, err := listKept(ctx, remote, s.path(), maps.Clone(q), f, keep)
		if err == nil && f.mustExist != "" && len(found.items) == 0 {
			err = mustExist(ctx, remote, f.mustExist)
		}
		if err == nil {
			s.sorted(found, sortBy)
		}
		return found, err
	}
	if w.Watch {
		return s.watch(ctx, env, p, look, max(w.Interval, leastInterval))
	}
	found, err := look()
	if err != nil {
		return err
	}
	return s.print(env, p, found)
}

// watch prints what is found, and then each item that is new or not as it was, until ctx ends.
func (s *shape[T]) watch(ctx context.Context, env Env, p *display, look func() (*foundList[T], error), every time.Duration) error {
	w := newWatched(s, p)
	for first := true; ; first = false {
		found, err := look()
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case err != nil && (first || isRefusal(err)):
			return err
		case err != nil:
			fmt.Fprintf(env.Err, "khook: %v; trying again\n", err)
		default:
			if first && len(found.items) == 0 {
				fmt.Fprintf(env.Err, "No %s yet; waiting for them.\n", s.plural)
			}
			if !first { // below what is there already, the newest last
				slices.Reverse(found.items)
				slices.Reverse(found.raw)
			}
			if err := w.print(found); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// isRefusal says whether asking again is no use.
func isRefusal(err error) bool {
	status, ok := errors.AsType[*client.StatusError](err)
	return ok && status.Status() >= http.StatusBadRequest && status.Status() < http.StatusInternalServerError && status.Status() != http.StatusTooManyRequests
}

// watched prints what it has not printed as it is.
type watched[T any] struct {
	shape   *shape[T]
	p       *display
	grid    *grid
	cells   func(*T) []string
	printed map[string]string // by name: what does not change by itself
}

func newWatched[T any](s *shape[T], p *display) *watched[T] {
	header, cells := s.shown(p)
	return &watched[T]{shape: s, p: p, grid: &grid{p: p, header: header, spare: s.spare}, cells: cells, printed: map[string]string{}}
}

func (w *watched[T]) print(l *foundList[T]) error {
	w.p.now = time.Now()
	var rows [][]string
	for i := range l.items {
		name, row := w.shape.name(&l.items[i]), w.cells(&l.items[i])
		lasting := w.lasting(row, l.raw[i])
		if w.printed[name] == lasting {
			continue
		}
		w.printed[name] = lasting
		var err error
		switch {
		case w.p.forPeople():
			rows = append(rows, row)
		case w.p.form == nameForm:
			err = w.p.name(w.shape.kind, name)
		default:
			err = w.p.line(l.raw[i])
		}
		if err != nil {
			return err
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return w.grid.print(rows)
}

// lasting is what of an item does not change by itself, as it gets older.
func (w *watched[T]) lasting(row []string, raw json.RawMessage) string {
	if !w.p.forPeople() {
		var fields map[string]json.RawMessage
		if json.Unmarshal(raw, &fields) != nil {
			return string(raw)
		}
		delete(fields, "durationSeconds")
		return fmt.Sprintf("%s", fields) // in the order of the keys
	}
	var b strings.Builder
	for i, c := range row {
		if name := w.grid.header[i]; name != "AGE" && name != "LASTED" {
			fmt.Fprintf(&b, "%q ", c)
		}
	}
	return b.String()
}
