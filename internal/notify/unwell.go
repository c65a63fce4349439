package notify

import (
	"context"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
)

// unwellPart is a part of khook that is unwell, or was.
type unwellPart struct {
	since   time.Time
	why     string
	well    bool // again
	told    bool // that it is unwell
	attempt int
	dueAt   time.Time // when it is tried again
}

// tellUnwell tells of the parts of khook that can't do their work for longer than the notifier wants to wait, and that they can again. It is kept in
// memory: a khook that is started anew tells it once more.
func (t *teller) tellUnwell(ctx context.Context) {
	now := t.Clock.Now()
	if !t.notifier.wants(&notice.Notice{Kind: notice.Unwell}) {
		return
	}
	t.watchParts(ctx, now)
	for name, p := range t.parts {
		if now.Before(p.dueAt) || !p.well && (p.told || now.Sub(p.since) < time.Duration(t.notifier.UnwellAfter)) {
			continue
		}
		if p.well && !p.told {
			delete(t.parts, name)
			continue
		}
		t.tellPart(ctx, name, p, now)
	}
}

// watchParts notes which parts are unwell, and since when.
func (t *teller) watchParts(ctx context.Context, now time.Time) {
	unwell := t.Unwell(ctx)
	for name, why := range unwell {
		p := t.parts[name]
		if p == nil || p.well {
			p = &unwellPart{since: now}
			t.parts[name] = p
		}
		p.why = why
	}
	for name, p := range t.parts {
		if _, still := unwell[name]; !still && !p.well {
			p.well, p.why, p.attempt, p.dueAt = true, "", 0, time.Time{}
		}
	}
}

func (t *teller) tellPart(ctx context.Context, name string, p *unwellPart, now time.Time) {
	n := notice.OfPart(name, p.since, p.well)
	item := ofPart(&n, name, p.why, now)
	item.Link = t.link(&item)
	m := t.newMessage(item)
	m.ID = incident.DeriveID("message", t.notifier.Name, n.ID)
	p.attempt++
	failed, again := t.try(ctx, m, p.attempt)
	if failed == nil {
		t.metrics.notices.WithLabelValues(t.notifier.Name, string(notice.Unwell), string(notice.Sent)).Inc()
		if p.told = true; p.well {
			delete(t.parts, name)
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	p.dueAt = again
	t.complain(failed)
}
