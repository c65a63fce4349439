package feed

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// Filter selects changes; empty fields select all, but for Kinds.
type Filter struct {
	Kinds     Kinds // none: events
	Namespace string
	Type      incident.EventType
	Status    incident.Status
	Name      string // of the resource
	Workload  string // its name
}

// Matches says whether the filter selects an event.
func (f *Filter) Matches(e *incident.Event) bool {
	return (f.Namespace == "" || f.Namespace == e.Resource.Namespace) && (f.Type == "" || f.Type == e.Type) &&
		(f.Status == "" || f.Status == e.Status) && (f.Name == "" || f.Name == e.Resource.Name) &&
		(f.Workload == "" || f.Workload == e.Workload.Name)
}

// Selects says whether the filter selects a message. What a delivery does not have, such as a resource, selects none.
func (f *Filter) Selects(m *Message) bool {
	switch {
	case !f.Kinds.of(m.Kind):
		return false
	case m.Event != nil:
		return f.Matches(m.Event)
	}
	of := &m.of
	return (f.Namespace == "" || f.Namespace == of.namespace) && (f.Type == "" || f.Type == of.eventType) &&
		(f.Status == "" || f.Status == of.status) && (f.Name == "" || f.Name == of.name) && (f.Workload == "" || f.Workload == of.workload)
}

// changes is the filter for the history.
func (f *Filter) changes() store.ChangeFilter {
	return store.ChangeFilter{Namespace: f.Namespace, Type: f.Type, Status: f.Status, Name: f.Name, Workload: f.Workload}
}

// Gap is a range of the change sequence that a reader missed: both ends included.
type Gap struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Reason says why, in a sentence.
	Reason string `json:"reason"`
}

// Batch is what a reader gets at once.
type Batch struct {
	Gap      *Gap       // before the messages; nil if nothing was missed
	Messages []*Message // selected by the filter, in order
	Position int64      // the reader has seen everything up to it
}

// Reader reads the changes after its position. It is for one goroutine.
type Reader struct {
	feed     *Feed
	filter   Filter
	position int64
	checked  bool // that the history still has what comes after the position
}

// Start says where a reader begins.
type Start struct {
	After int64     // after this number; negative for the end
	Since time.Time // if set: with the first change that was made at or after this time
}

// End is where a reader begins that wants only what is new.
var End = Start{After: -1}

// Read returns a reader. It waits until the feed is live.
func (f *Feed) Read(ctx context.Context, filter Filter, where Start) (*Reader, error) {
	select {
	case <-f.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r := &Reader{feed: f, filter: filter, position: where.After}
	switch {
	case !where.Since.IsZero():
		first, err := f.cfg.History.ChangeAt(ctx, where.Since)
		if err != nil {
			return nil, err
		}
		r.position = first - 1
	case where.After < 0:
		last, err := f.cfg.History.LastChange(ctx) // which the feed may not have seen yet
		if err != nil {
			return nil, err
		}
		r.position, r.checked = last, true
	}
	return r, nil
}

// Position is the number up to which the reader has seen everything.
func (r *Reader) Position() int64 { return r.position }

// Filter changes what the reader selects from now on.
func (r *Reader) Filter(f Filter) { r.filter = f }

// Next returns what comes next; it waits until there is something. Batches without messages tell
// that the position moved far. ctx ends the wait.
func (r *Reader) Next(ctx context.Context) (Batch, error) { return r.next(ctx, r.catchUp) }

// NextOfTail is Next for who has no room for messages of the history: it returns an empty batch as soon as the tail
// begins later than what comes next, which may happen while it waits. Then the reader is Behind.
func (r *Reader) NextOfTail(ctx context.Context) (Batch, error) {
	return r.next(ctx, func(context.Context) (Batch, error) { return Batch{Position: r.position}, nil })
}

func (r *Reader) next(ctx context.Context, behind func(context.Context) (Batch, error)) (Batch, error) {
	looked := !r.checked
	if looked {
		gap, err := r.check(ctx)
		if err != nil || gap != nil {
			return Batch{Gap: gap, Position: r.position}, err
		}
	}
	began := r.position
	for {
		messages, to, changed, ok := r.feed.after(r.position, batch)
		if !ok && looked {
			return behind(ctx)
		}
		if !ok { // the tail has left the reader behind since it looked; maybe because the history is another one now
			looked = true
			if gap, err := r.check(ctx); err != nil || gap != nil {
				return Batch{Gap: gap, Position: r.position}, err
			}
			continue
		}
		r.position = to
		if selected := r.selected(messages); len(selected) > 0 || r.position-began >= progressStep {
			return Batch{Messages: selected, Position: r.position}, nil
		}
		if len(messages) == batch {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Batch{Position: r.position}, ctx.Err()
		}
	}
}

// progressStep is how far a position moves without a message before the reader is told.
const progressStep = 10_000

// selected are those that the filter selects, in the place of the messages, which are the reader's own.
func (r *Reader) selected(messages []*Message) []*Message {
	selected := messages[:0]
	for _, m := range messages {
		if r.filter.Selects(m) {
			selected = append(selected, m)
		}
	}
	return selected
}

// check looks whether the history still has what comes after the position.
func (r *Reader) check(ctx context.Context) (*Gap, error) {
	history := r.feed.cfg.History
	last, err := history.LastChange(ctx)
	if err != nil {
		return nil, err
	}
	from, to, skipped, err := history.Skipped(ctx, r.position)
	switch {
	case err != nil:
		return nil, err
	case skipped && r.position > from && r.position < to: // also if the history has gone on beyond it since
		return r.ofAnother(from, to), nil
	case skipped: // what there was up to the new term has been seen, and after it nothing was yet
		r.position = max(r.position, to)
	case r.position > last:
		return r.ofAnother(last, last), nil
	}
	first, err := history.FirstChange(ctx)
	if err != nil {
		return nil, err
	}
	r.checked = true
	if r.position >= first-1 {
		return nil, nil //nolint:nilnil // nothing was missed
	}
	gap := &Gap{From: r.position + 1, To: first - 1, Reason: "the changes are older than the history is kept"}
	r.position = first - 1
	return gap, nil
}

// ofAnother tells that the position was given out by a history that this one is not, or does not have any more: what is common to both ends with a number,
// and the reader goes on after another one.
func (r *Reader) ofAnother(common, goesOn int64) *Gap {
	gap := &Gap{From: common + 1, To: r.position, Reason: "the position is of another history: what that one had is not here, and this one begins anew"}
	r.position, r.checked = goesOn, true
	return gap
}

// window is how many numbers of the change sequence one look into the history goes over at most, so
// that a reader of little in a history of much takes turns with the others.
const window = 5000

// catchUp reads from the history what the tail does not have any more. The position moves over what
// the filter leaves out as well: so a reader of one namespace gets through the others' changes without
// having them read.
func (r *Reader) catchUp(ctx context.Context) (Batch, error) {
	select {
	case r.feed.catchUp <- struct{}{}:
		defer func() { <-r.feed.catchUp }()
	case <-ctx.Done():
		return Batch{Position: r.position}, ctx.Err()
	}
	// What is read from the history now must not be told again by the tail, nor left out between both:
	// the feed has seen all up to head, so all of it is committed before the history is read here.
	upTo := max(r.position, min(r.position+window, r.feed.Head()))
	switch _, to, skipped, err := r.feed.cfg.History.Skipped(ctx, upTo); {
	case err != nil:
		return Batch{Position: r.position}, err
	case skipped: // no position is within what a term left out: such a one is told of a gap
		upTo = to
	}
	messages, reach, err := r.feed.read(ctx, r.filter, r.position, upTo)
	if err != nil {
		return Batch{Position: r.position}, err
	}
	r.checked = false // the history may be shortened while a slow reader is behind
	// What was deleted before it was read is no part of what was: that is a gap, and told as one. So nothing
	// of this counts, and the next look begins where this one did.
	first, err := r.feed.cfg.History.FirstChange(ctx)
	if err != nil || first-1 > r.position {
		return Batch{Position: r.position}, err
	}
	r.position = reach
	return Batch{Messages: messages, Position: r.position}, nil
}
