package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/server"
	"github.com/kagent-dev/khook/internal/store"
)

// How what people want of a replica that does not lead comes to the one that does.
const (
	wishPoll   = 75 * time.Millisecond // how often the leader looks for wishes, and who asked for the answer
	wishWait   = 10 * time.Second      // for the answer; then the wish is taken back
	wishGiveUp = 3 * time.Second       // for taking it back
	wishLife   = time.Minute           // of a wish that nobody took back: its asker has ended
	wishBatch  = 50                    // that are looked at together
	wishAtOnce = 4                     // that are fulfilled at the same time
)

// wishKind is what a person wants.
type wishKind string

const (
	wishReply  wishKind = "reply"
	wishCancel wishKind = "cancel"
	wishRetry  wishKind = "retry"
	wishGoOn   wishKind = "resume-group"
	wishPause  wishKind = "pause"
	wishResume wishKind = "resume"
)

// wish is what a person wants, in full. Who asked has been found to have the right to it.
type wish struct {
	Delivery string               `json:"delivery,omitempty"`
	Reply    *delivery.Reply      `json:"reply,omitempty"`
	Pause    *delivery.Pause      `json:"pause,omitempty"`
	Scope    *delivery.PauseScope `json:"scope,omitempty"`
}

// wishAnswer is what the leader says. Nothing was done if one of the first four is set.
type wishAnswer struct {
	Refused  string `json:"refused,omitempty"`
	NotFound bool   `json:"notFound,omitempty"`
	Late     bool   `json:"late,omitempty"`
	Failed   string `json:"failed,omitempty"`

	Partly   string `json:"partly,omitempty"`   // it is done, and what is to follow failed
	Delivery string `json:"delivery,omitempty"` // that was changed or made
	Canceled int    `json:"canceled,omitempty"` // deliveries, by a pause
	Ended    bool   `json:"ended,omitempty"`    // whether there was a pause to end
}

// err is that of the leader.
func (a *wishAnswer) err() error {
	switch {
	case a.Refused != "":
		return &delivery.RefusedError{Reason: a.Refused}
	case a.NotFound:
		return store.ErrNotFound
	case a.Late:
		return server.ErrNotTaken
	case a.Failed != "":
		return errors.New("the replica that leads says: " + a.Failed) //nolint:err113 // it came as a text
	}
	return nil
}

// intake brings what people want of this replica to the one that leads.
type intake struct {
	store *store.Store
	log   logr.Logger
}

// ask has the leader do what a person wants, and returns what it says. confirmed is false if that is not known, and it is done.
func (i *intake) ask(ctx context.Context, kind wishKind, by string, w *wish) (answer wishAnswer, confirmed bool, err error) {
	if !i.store.Shared() || store.OfWish(ctx) { // a wish of a replica that has ceased to lead meanwhile waits for the next one
		return answer, false, server.ErrStandby
	}
	payload, err := encodeWish(w)
	if err != nil {
		return answer, false, err
	}
	id := rand.Text()
	err = i.store.Ask(ctx, &store.Wish{ID: id, Kind: string(kind), Payload: payload, By: by, At: time.Now()})
	switch {
	case errors.Is(err, store.ErrIntakeFull):
		return answer, false, server.ErrIntakeFull
	case errors.Is(err, store.ErrUnknown):
		return i.giveUp(ctx, id)
	case err != nil:
		return answer, false, errors.Join(server.ErrNotTaken, err)
	}
	limit := wishWait
	if deadline, ok := ctx.Deadline(); ok { // the person is told before who asked is gone
		limit = min(limit, max(wishPoll, time.Until(deadline)-wishGiveUp-time.Second))
	}
	var row store.Wish
	err = wait.PollUntilContextTimeout(ctx, wishPoll, limit, false, func(ctx context.Context) (bool, error) {
		found, err := i.store.Reader().Wish(ctx, id)
		if err != nil {
			return false, nil //nolint:nilerr // it is asked again
		}
		row = found
		return row.State == store.WishAnswered, nil
	})
	if err != nil {
		return i.giveUp(ctx, id)
	}
	return decodeAnswer(row.Answer)
}

// giveUp takes a wish back, or finds out that it is done.
func (i *intake) giveUp(ctx context.Context, id string) (answer wishAnswer, confirmed bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wishGiveUp)
	defer cancel()
	withdrawn, err := i.store.Withdraw(ctx, id)
	if err == nil && withdrawn {
		return answer, false, server.ErrNotTaken
	}
	if err != nil {
		return answer, false, errors.Join(server.ErrOutcomeUnknown, err)
	}
	row, err := i.store.Reader().Wish(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound): // its commit was unknown, and has come to nothing
		return answer, false, server.ErrNotTaken
	case err != nil:
		return answer, false, errors.Join(server.ErrOutcomeUnknown, err)
	case row.State == store.WishDone:
		i.log.Info("what a person wanted is done, and the replica that did it has not said more", "kind", row.Kind, "user", row.By)
		return answer, false, nil
	}
	return decodeAnswer(row.Answer)
}

func encodeWish(w *wish) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is for no page
	if err := e.Encode(w); err != nil {
		return "", fmt.Errorf("write down what a person wants: %w", err)
	}
	return b.String(), nil
}

func decodeAnswer(text string) (answer wishAnswer, confirmed bool, err error) {
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return answer, false, errors.Join(server.ErrOutcomeUnknown, err)
	}
	return answer, true, answer.err()
}

// takeIn does what people want of other replicas, on the leader.
func (a *App) takeIn(ctx context.Context) error {
	if !a.store.Shared() {
		return nil
	}
	failing := false
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		wishes, err := a.store.WaitingWishes(ctx, wishBatch)
		if err != nil && ctx.Err() == nil && !failing {
			a.log.Error(err, "cannot read what people want of other replicas, will retry")
		}
		failing = err != nil
		var group errgroup.Group
		group.SetLimit(wishAtOnce)
		for i := range wishes {
			group.Go(func() error { a.fulfil(ctx, &wishes[i]); return nil })
		}
		_ = group.Wait()
	}, wishPoll)
	return nil
}

// fulfil does what a person wants, once: see store.Tx.Fulfil. What can't be done now waits, until it is taken back.
func (a *App) fulfil(ctx context.Context, w *store.Wish) {
	answer := wishAnswer{Late: true}
	if time.Since(w.At) < wishLife {
		var err error
		answer, err = a.grant(store.WithWish(ctx, w.ID), w)
		var refused *delivery.RefusedError
		switch {
		case err == nil:
		case errors.Is(err, store.ErrWithdrawn):
			return
		case ctx.Err() != nil, store.Unavailable(err), errors.Is(err, store.ErrDeposed), errors.Is(err, server.ErrStandby):
			a.log.V(1).Info("what a person wants of another replica can't be done now", "kind", w.Kind, "user", w.By, "reason", err.Error())
			return
		case errors.As(err, &refused):
			answer.Refused = refused.Reason
		case errors.Is(err, store.ErrNotFound):
			answer.NotFound = true
		default:
			a.log.Error(err, "cannot do what a person wants of another replica", "kind", w.Kind, "user", w.By)
			answer.Failed = err.Error()
		}
	}
	text, err := json.Marshal(answer)
	if err == nil {
		err = a.store.AnswerWish(ctx, w.ID, string(text))
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error(err, "cannot answer what a person wanted of another replica", "kind", w.Kind, "user", w.By)
	}
}

// grant does what a wish says as if this replica had been asked.
func (a *App) grant(ctx context.Context, row *store.Wish) (answer wishAnswer, err error) {
	var w wish
	if err := json.Unmarshal([]byte(row.Payload), &w); err != nil {
		return answer, fmt.Errorf("read what a person wants: %w", err)
	}
	act := actions{a, a.store.Reader()}
	var d *delivery.Delivery
	switch kind := wishKind(row.Kind); {
	case kind == wishReply && w.Reply != nil:
		d, err = act.Reply(ctx, w.Delivery, row.By, *w.Reply)
	case kind == wishCancel:
		d, err = act.Cancel(ctx, w.Delivery, row.By)
	case kind == wishRetry:
		d, err = act.Retry(ctx, w.Delivery, row.By)
	case kind == wishGoOn:
		d, err = act.Resume(ctx, w.Delivery, row.By)
	case kind == wishPause && w.Pause != nil:
		answer.Canceled, err = a.pauses.Pause(ctx, *w.Pause)
		if partly := (*partlyError)(nil); errors.As(err, &partly) {
			answer.Partly, err = partly.Error(), nil
		}
	case kind == wishResume && w.Scope != nil:
		answer.Ended, err = a.pauses.Resume(ctx, *w.Scope, row.By)
	default:
		err = fmt.Errorf("%w: another version of khook asked for %q", errUnknownWish, row.Kind)
	}
	if d != nil && err == nil {
		answer.Delivery = d.ID
	}
	return answer, err
}

// errUnknownWish is why something is not done that a replica of another version asks for.
var errUnknownWish = errors.New("the replica that leads does not know what is wanted")

// askFor has the leader act on a delivery, and returns the one that was changed or made, as it is then. made is the one that is expected.
func (i *intake) askFor(ctx context.Context, kind wishKind, by string, w *wish, made string) (*delivery.Delivery, error) {
	answer, confirmed, err := i.ask(ctx, kind, by, w)
	if err != nil {
		return nil, err
	}
	id := answer.Delivery
	if !confirmed {
		id = made
	}
	d, err := i.store.Reader().Delivery(context.WithoutCancel(ctx), id)
	if err != nil {
		return nil, errors.Join(server.ErrOutcomeUnknown, err)
	}
	return d, nil
}
