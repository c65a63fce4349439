package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

// How often a teller looks, and the bounds of what waits.
const (
	lookEvery    = time.Second
	groupsEvery  = 15 * time.Second // for groups and incidents that nobody tells of
	noteEvery    = time.Minute      // how far the change log was read, if there was nothing to tell
	readTogether = 5_000            // changes that are read at once
	maxWaiting   = 1_000            // notices of a notifier: beyond that it reads no further until some have ended
	maxTogether  = 100              // notices of one message
	maxLooked    = 2 * maxTogether  // notices of which the next message is made
	giveUpEvery  = 10 * time.Minute // for what is of no use any more, while the receiver takes nothing
	partsEvery   = 10 * time.Second // for khook's own parts
	maxFound     = 1_000            // groups, or incidents, that are told of at once
	refusals     = 3                // attempts at a message that the receiver judges
	firstPause   = time.Second
	longestPause = 15 * time.Minute
)

// teller tells one notifier. What is to be told is a row of the history before it leaves, made from changes that are committed there: a crash at
// any moment loses nothing, and what may have been sent twice has the same ID both times. Only what khook says of itself is not
// stored, since its history may be what fails.
type teller struct {
	Options
	notifier *Notifier
	sender   *sender
	metrics  *metrics
	room     *rate.Limiter
	trouble  trouble

	started  bool
	readUpTo int64     // the change log is read up to here
	notedAt  time.Time // when that was last written
	groupsAt time.Time // when groups and incidents were last looked at
	gaveUpAt time.Time // when what is of no use any more was last given up
	pausesTo time.Time // the receiver takes nothing until then
	loggedAt time.Time
	parts    map[string]*unwellPart // that are or were unwell
}

// run looks every second until ctx ends.
func (t *teller) run(ctx context.Context) error {
	ticker := t.Clock.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if err := t.look(ctx); err != nil && ctx.Err() == nil {
			t.complain(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// complain logs at most once a minute: what fails is tried again every second.
func (t *teller) complain(err error) {
	if now := t.Clock.Now(); now.Sub(t.loggedAt) >= time.Minute {
		t.loggedAt = now
		t.Log.Error(err, "cannot tell a notifier, will retry", "notifier", t.notifier.Name)
	}
}

// look does what is due. What khook says of itself goes first, and does not need the history.
func (t *teller) look(ctx context.Context) error {
	t.tellUnwell(ctx)
	if !t.started {
		if err := t.begin(ctx); err != nil {
			return err
		}
		t.started = true
	}
	waiting, err := t.Store.CountWaitingNotices(ctx, t.notifier.Name)
	if err != nil {
		return err
	}
	t.metrics.waiting.WithLabelValues(t.notifier.Name).Set(float64(waiting))
	if waiting < maxWaiting {
		if err := t.collect(ctx); err != nil {
			return err
		}
	}
	now := t.Clock.Now()
	if now.Before(t.pausesTo) {
		return t.giveUp(ctx, now)
	}
	return t.send(ctx, now)
}

// begin finds out how far the change log was read. A notifier that is new is told of what waits for people now, and of what happens from now on;
// so is one for which changes were deleted before it had read them.
func (t *teller) begin(ctx context.Context) error {
	upTo, known, err := t.Store.NoticesReadUpTo(ctx, t.notifier.Name)
	if err != nil {
		return err
	}
	first, err := t.Store.FirstChange(ctx)
	if err != nil {
		return err
	}
	if known && upTo+1 >= first {
		t.readUpTo = upTo
		return nil
	}
	last, err := t.Store.LastChange(ctx)
	if err != nil {
		return err
	}
	ids, err := t.Store.WaitingDeliveries(ctx, maxWaiting)
	if err != nil {
		return err
	}
	return t.put(ctx, ids, last)
}

// collect reads on in the change log, and looks for what is in no change.
func (t *teller) collect(ctx context.Context) error {
	last, err := t.Store.LastChange(ctx)
	if err != nil {
		return err
	}
	if last > t.readUpTo {
		upTo := min(last, t.readUpTo+readTogether)
		switch _, to, skipped, err := t.Store.Skipped(ctx, upTo); {
		case err != nil:
			return err
		case skipped: // a term left out many numbers: they are not gone through
			upTo = to
		}
		ids, err := t.Store.ChangedDeliveries(ctx, t.readUpTo, upTo)
		if err != nil {
			return err
		}
		if err := t.put(ctx, ids, upTo); err != nil {
			return err
		}
	}
	now := t.Clock.Now()
	if now.Sub(t.groupsAt) < groupsEvery {
		return nil
	}
	found, err := t.unsaid(ctx, now)
	if err != nil {
		return err
	}
	t.groupsAt = now
	return t.write(ctx, found, t.readUpTo)
}

// put makes what deliveries say now wait to be told.
func (t *teller) put(ctx context.Context, ids []string, upTo int64) error {
	var all []notice.Notice
	for _, id := range ids {
		d, err := t.Store.Delivery(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, notice.OfDelivery(d)...)
	}
	return t.write(ctx, all, upTo)
}

// unsaid are the groups and incidents that need to be told of, which no change of a delivery tells.
func (t *teller) unsaid(ctx context.Context, now time.Time) ([]notice.Notice, error) {
	var all []notice.Notice
	if slices.Contains(t.notifier.Tell, notice.NeedsPerson) {
		held, err := t.Store.HeldForPerson(ctx, "", now.Add(-delivery.HeldFor), maxFound)
		if err != nil {
			return nil, err
		}
		for _, g := range held {
			all = append(all, notice.OfGroup(&g.GroupState, g.NewestDelivery, g.Since))
		}
	}
	if slices.Contains(t.notifier.Tell, notice.Uncalled) {
		found, err := t.Store.UncalledOpen(ctx, t.notifier.Name, now.Add(-time.Duration(t.notifier.UncalledAfter)), store.UncalledMatch{
			Namespaces: t.notifier.Match.Namespaces, Types: t.notifier.Match.Types,
		}, maxFound)
		if err != nil {
			return nil, err
		}
		for _, inc := range found {
			all = append(all, notice.OfIncident(inc))
		}
	}
	return all, nil
}

// write records what the notifier wants of it, with how far the change log was read.
func (t *teller) write(ctx context.Context, all []notice.Notice, upTo int64) error {
	now := t.Clock.Now()
	var lines []*notice.Line
	for i := range all {
		n := &all[i]
		if !t.notifier.wants(n) || n.TooLate(now) {
			continue
		}
		lines = append(lines, &notice.Line{Notice: *n, Notifier: t.notifier.Name, State: notice.Waiting, DueAt: now.Add(time.Duration(t.notifier.GroupWait))})
	}
	if len(lines) > 0 || now.Sub(t.notedAt) >= noteEvery {
		err := t.Store.Write(ctx, func(tx *store.Tx) error { return tx.PutNotices(ctx, t.notifier.Name, upTo, lines) })
		if err != nil {
			return err
		}
		t.notedAt = now
	}
	t.readUpTo = upTo
	return nil
}

// send makes an attempt at the message that is due, if one is.
func (t *teller) send(ctx context.Context, now time.Time) error {
	lines, err := t.due(ctx, now)
	if err != nil || len(lines) == 0 || lines[0].Message == "" && t.room.TokensAt(now) < 1 { // then later, with what comes until then
		return err
	}
	m, told, outdated, err := t.message(ctx, lines)
	if err != nil {
		return err
	}
	if len(told) > 0 && lines[0].Message == "" {
		t.room.AllowN(now, 1)
	}
	end(outdated, notice.Outdated, now)
	for _, l := range told {
		l.Message, l.Attempt = m.ID, l.Attempt+1
	}
	if err := t.save(ctx, append(slices.Clone(outdated), told...)); err != nil || len(told) == 0 {
		return err
	}
	return t.attempt(ctx, m, told)
}

// due are the notices of the next message: of one that was tried before and is due again, else of a kind of which one is due, with all others of
// that kind.
func (t *teller) due(ctx context.Context, now time.Time) ([]*notice.Line, error) {
	waiting, err := t.Store.WaitingNotices(ctx, t.notifier.Name, maxLooked)
	if err != nil {
		return nil, err
	}
	var first *notice.Line
	for _, l := range waiting {
		if !l.DueAt.After(now) && (first == nil || first.Message == "" && l.Message != "") {
			first = l
		}
	}
	switch {
	case first == nil:
		return nil, nil
	case first.Message != "":
		return t.Store.NoticesOfMessage(ctx, t.notifier.Name, first.Message, maxTogether)
	case t.notifier.Shape.alone():
		return []*notice.Line{first}, nil
	}
	var together []*notice.Line
	for _, l := range waiting {
		if l.Message == "" && l.Kind == first.Kind && len(together) < maxTogether {
			together = append(together, l)
		}
	}
	return together, nil
}

// message reads what is so now. What is not so any more is outdated, and told to nobody.
func (t *teller) message(ctx context.Context, lines []*notice.Line) (m *Message, told, outdated []*notice.Line, err error) {
	m = t.newMessage()
	var ids []string
	for _, l := range lines {
		item, so, err := t.item(ctx, l)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case !so:
			outdated = append(outdated, l)
			continue
		case len(m.Items) < maxItems:
			m.Items = append(m.Items, item)
		default:
			m.More++
		}
		told, ids = append(told, l), append(ids, l.ID)
	}
	if m.ID = lines[0].Message; m.ID == "" {
		m.ID = incident.DeriveID(append([]string{"message", t.notifier.Name}, ids...)...)
	}
	return m, told, outdated, nil
}

// item is a notice in words; so is false if it is not so any more.
func (t *teller) item(ctx context.Context, l *notice.Line) (item Item, so bool, err error) {
	switch {
	case l.About == notice.AboutLoopGuard && l.Kind == notice.NeedsPerson:
		item, so, err = t.groupItem(ctx, l)
	case l.Kind == notice.Uncalled:
		item, so, err = t.incidentItem(ctx, l)
	default:
		var d *delivery.Delivery
		if d, err = t.Store.Delivery(ctx, l.DeliveryID); err == nil && l.StillSo(d) {
			item, so = ofDelivery(&l.Notice, d), true
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return item, false, nil
	}
	item.Link = t.link(&item)
	return item, so, err
}

func (t *teller) newMessage(items ...Item) *Message {
	return &Message{Notifier: t.notifier.Name, Cluster: t.Cluster, Version: t.Version, Items: items}
}

// link leads to what the notice is about: to its page, or to what the API tells of it where there is no dashboard; empty if khook does not
// know its own address.
func (t *teller) link(item *Item) string {
	base := t.ExternalURL
	if !t.Dashboard {
		base += "/api/v1"
	}
	switch {
	case t.ExternalURL == "":
		return ""
	case item.DeliveryID != "":
		return base + "/deliveries/" + item.DeliveryID
	case item.IncidentID != "":
		return base + "/incidents/" + item.IncidentID
	}
	return base + "/health"
}

func (t *teller) groupItem(ctx context.Context, l *notice.Line) (Item, bool, error) {
	g, err := t.Store.GroupState(ctx, delivery.GroupKey{Hook: l.Hook, Config: l.Config, Group: l.Group})
	if err != nil || g.Hold == "" || !g.NeedsPerson || g.HoldEnds.Before(t.Clock.Now().Add(-delivery.HeldFor)) {
		return Item{}, false, err
	}
	return ofGroup(&l.Notice, g.Why), true, nil
}

func (t *teller) incidentItem(ctx context.Context, l *notice.Line) (Item, bool, error) {
	inc, err := t.Store.Incident(ctx, l.IncidentID)
	if err != nil || !inc.Open() {
		return Item{}, false, err
	}
	called, err := t.Store.Called(ctx, inc.ID)
	if err != nil || called {
		return Item{}, false, err
	}
	return ofIncident(&l.Notice, inc), true, nil
}

// try makes one attempt at a message, and counts it. Of one that failed it says when the next may be made.
func (t *teller) try(ctx context.Context, m *Message, attempt int) (failed *attemptError, again time.Time) {
	failed = t.sender.send(ctx, m)
	if failed == nil {
		t.metrics.attempts.WithLabelValues(t.notifier.Name, "ok").Inc()
		return nil, time.Time{}
	}
	if ctx.Err() == nil {
		t.metrics.attempts.WithLabelValues(t.notifier.Name, "error").Inc()
	}
	return failed, t.Clock.Now().Add(max(pause(attempt), failed.retryAfter))
}

// attempt sends a message whose notices are noted as being sent, and records what came of it.
func (t *teller) attempt(ctx context.Context, m *Message, told []*notice.Line) error {
	failed, again := t.try(ctx, m, told[0].Attempt)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // khook ends: the next leader sends it again, with the same ID
	}
	now := t.Clock.Now()
	if failed == nil {
		t.trouble.over()
		end(told, notice.Sent, now)
		return t.save(ctx, told)
	}
	for _, l := range told {
		l.Error, l.DueAt = failed.why, again
	}
	if failed.message {
		if told[0].Attempt >= refusals {
			end(told, notice.Failed, now)
			t.Log.Info("a notifier refuses a message", "notifier", t.notifier.Name, "notices", len(told), "error", failed.why)
		}
		return t.save(ctx, told)
	}
	t.trouble.is(now, failed.why)
	t.pausesTo = again
	t.complain(failed)
	return t.save(ctx, told)
}

// giveUp ends what is too late to be told; khook's own lists have it all the same.
func (t *teller) giveUp(ctx context.Context, now time.Time) error {
	if now.Sub(t.gaveUpAt) < giveUpEvery {
		return nil
	}
	waiting, err := t.Store.WaitingNotices(ctx, t.notifier.Name, maxWaiting)
	if err != nil {
		return err
	}
	t.gaveUpAt = now
	var late []*notice.Line
	for _, l := range waiting {
		if l.TooLate(now) {
			late = append(late, l)
		}
	}
	end(late, notice.Failed, now)
	return t.save(ctx, late)
}

// end brings notices to a final state.
func end(lines []*notice.Line, as notice.State, now time.Time) {
	for _, l := range lines {
		l.State, l.EndedAt = as, now
	}
}

// save records notices, and counts those that have ended.
func (t *teller) save(ctx context.Context, lines []*notice.Line) error {
	if len(lines) == 0 {
		return nil
	}
	if err := t.Store.Write(ctx, func(tx *store.Tx) error { return tx.SaveNotices(ctx, lines) }); err != nil {
		return err
	}
	for _, l := range lines {
		if l.State != notice.Waiting {
			t.metrics.notices.WithLabelValues(t.notifier.Name, string(l.Kind), string(l.State)).Inc()
		}
	}
	return nil
}

// pause is how long is waited after an attempt: twice as long each time, and never the same.
func pause(attempt int) time.Duration {
	d := firstPause << min(max(attempt-1, 0), 10)
	d = min(d, longestPause)
	return d - time.Duration(rand.Int64N(int64(d)/4)) //nolint:gosec // no secret
}
