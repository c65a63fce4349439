package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Wish is what a person asked of a replica that does not lead, for the one that does.
type Wish struct {
	ID      string // an idempotency key: who asks with the same one again asks for the same thing
	Kind    string
	Payload string // in JSON
	By      string // the person
	At      time.Time
	State   WishState
	Answer  string // in JSON; empty before WishAnswered
}

// WishState is what became of a wish.
type WishState string

// The states of a wish. It leaves WishWaiting in one transaction, once: by what it is for, by an answer that says why that is not
// done, or by who takes it back. So it is done once, whoever ends when.
const (
	WishWaiting   WishState = "waiting"
	WishDone      WishState = "done"      // recorded in the transaction of what it is for; the answer is to come
	WishAnswered  WishState = "answered"  // with what the leader's own API would have said
	WishWithdrawn WishState = "withdrawn" // nothing was done, and nothing will be
)

// Bounds of wishes.
const (
	MaxWishes      = 500       // that wait at the same time
	MaxWishPayload = 128 << 10 // bytes
	wishesKept     = time.Hour
)

// ErrIntakeFull is returned where MaxWishes wait already.
var ErrIntakeFull = errors.New("too many people wait for the replica that leads")

// ErrWithdrawn is returned for a wish that does not wait any more: nothing of the transaction is recorded.
var ErrWithdrawn = errors.New("it was taken back, or was done already")

type wishKey struct{}

// WithWish makes what is done in ctx the fulfilment of a wish: see Tx.Fulfil. An empty ID ends that.
func WithWish(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, wishKey{}, id)
}

// OfWish says whether what is done in ctx is the fulfilment of a wish.
func OfWish(ctx context.Context) bool {
	id, _ := ctx.Value(wishKey{}).(string)
	return id != ""
}

// Fulfil makes the transaction the one that does what the wish of ctx is for, if ctx has one. Each transaction that does what people want
// begins with it.
//
// Invariant: the wish stops waiting in the transaction that does it. Without that a leader which ends between both would leave a wish
// that is done again by the next one, or never.
func (tx *Tx) Fulfil(ctx context.Context) error {
	id, _ := ctx.Value(wishKey{}).(string)
	if id == "" {
		return nil
	}
	n, err := tx.exec(ctx, "UPDATE intake SET state = 'done' WHERE cluster = :cluster AND id = ? AND state = 'waiting'", id)
	if err == nil && n == 0 {
		return ErrWithdrawn
	}
	return err
}

// Ask records a wish; it may be repeated with the same ID. The error is ErrIntakeFull if there is no room for it.
func (s *Store) Ask(ctx context.Context, w *Wish) error {
	if len(w.Payload) > MaxWishPayload {
		return fmt.Errorf("a wish has %d bytes, and may have %d", len(w.Payload), MaxWishPayload)
	}
	return s.Write(ctx, func(tx *Tx) error {
		waiting, err := tx.number(ctx, "SELECT count(*) FROM intake WHERE cluster = :cluster AND state = 'waiting'")
		if err == nil && waiting >= MaxWishes {
			err = ErrIntakeFull
		}
		if err != nil {
			return err
		}
		return tx.insert(ctx, "intake", "id, kind, payload, who, at, state, answer",
			[][]any{{w.ID, w.Kind, w.Payload, w.By, micros(w.At), string(WishWaiting), ""}}, " ON CONFLICT DO NOTHING")
	})
}

// Withdraw takes a wish back if it still waits: then nothing is done about it any more, for sure.
func (s *Store) Withdraw(ctx context.Context, id string) (withdrawn bool, err error) {
	err = s.Write(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, "UPDATE intake SET state = 'withdrawn' WHERE cluster = :cluster AND id = ? AND state = 'waiting'", id)
		withdrawn = n > 0
		return err
	})
	return withdrawn && err == nil, err
}

// AnswerWish records what the asker is told, unless the wish was taken back. Of a wish that still waits nothing was done, and nothing will be.
func (s *Store) AnswerWish(ctx context.Context, id, answer string) error {
	return s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, "UPDATE intake SET state = 'answered', answer = ? WHERE cluster = :cluster AND id = ? AND state IN ('waiting', 'done')", answer, id)
		return err
	})
}

const wishColumns = "id, kind, payload, who, at, state, answer"

func scanWish(row scanner) (w Wish, err error) {
	var at int64
	var state string
	err = row.Scan(&w.ID, &w.Kind, &w.Payload, &w.By, &at, &state, &w.Answer)
	w.At, w.State = fromMicros(at), WishState(state)
	return w, err
}

// WaitingWishes returns wishes that wait, the oldest first.
func (s *Store) WaitingWishes(ctx context.Context, limit int) ([]Wish, error) {
	return readAll(ctx, s.core, "what people want", scanWish,
		"SELECT "+wishColumns+" FROM intake WHERE cluster = :cluster AND state = 'waiting' ORDER BY at, id LIMIT ?", limit)
}

// Wish returns one wish, or ErrNotFound.
func (r *Reader) Wish(ctx context.Context, id string) (Wish, error) {
	return readOne(ctx, r.api, "what a person wants", scanWish, "SELECT "+wishColumns+" FROM intake WHERE cluster = :cluster AND id = ?", id)
}

// Shared says whether other replicas may have the same history open.
func (s *Store) Shared() bool { return s.engine.Shared() }
