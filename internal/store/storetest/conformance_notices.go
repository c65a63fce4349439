package storetest

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

// notices: what a notifier is to be told waits for it, once, until it has ended; and it is known how far the notifier has read.
func (s *suite) notices() {
	ctx := s.Context()
	line := func(notifier, id string, due time.Duration) *notice.Line {
		return &notice.Line{
			Notice: notice.Notice{
				ID: id, Kind: notice.NeedsPerson, About: notice.AboutApproval, Subject: "q", Hook: delivery.HookRef{Namespace: "shop", Name: "h"}, Type: incident.OOMKill,
				Namespace: "shop", Config: "c", Group: "Deployment/cart", DeliveryID: "d", IncidentID: "i", At: start,
			},
			Notifier: notifier, State: notice.Waiting, DueAt: start.Add(due),
		}
	}
	first, second, other := line("oncall", "1", time.Minute), line("oncall", "2", time.Second), line("team", "1", 0)
	put := func(notifier string, upTo int64, lines ...*notice.Line) {
		s.must(s.st.Write(ctx, func(tx *store.Tx) error { return tx.PutNotices(ctx, notifier, upTo, lines) }))
	}
	waiting := func(what, notifier string, want ...*notice.Line) {
		s.Helper()
		got, err := s.st.WaitingNotices(ctx, notifier, 10)
		s.must(err)
		s.same(what, want, got)
	}
	if _, known, err := s.st.NoticesReadUpTo(ctx, "oncall"); err != nil || known {
		s.Errorf("a notifier that is new is known: %v, %v", known, err)
	}
	put("oncall", 7, first, second)
	put("team", 9, other)
	waiting("what waits, in its order", "oncall", second, first)
	again := line("oncall", "1", 0)
	again.Subject = "another"
	put("oncall", 8, again)
	waiting("what is put again", "oncall", second, first)
	upTo, known, err := s.st.NoticesReadUpTo(ctx, "oncall")
	s.must(err)
	s.same("how far it has read", 8, int(upTo))
	s.same("whether it is known", true, known)
	second.State, second.Message, second.Attempt, second.EndedAt, second.Error = notice.Sent, "m", 2, start.Add(time.Hour), "it answered 502"
	first.Message, first.Attempt, first.DueAt = "n", 1, start.Add(time.Hour)
	s.must(s.st.Write(ctx, func(tx *store.Tx) error { return tx.SaveNotices(ctx, []*notice.Line{second, first}) }))
	waiting("what was told", "oncall", first)
	told, err := s.st.Reader().NoticesOfIncident(ctx, "i", 10)
	s.must(err)
	s.same("what was told of the incident", []*notice.Line{second}, told)
	s.must(s.st.Write(ctx, func(tx *store.Tx) error { return tx.KeepNotifiers(ctx, []string{"oncall"}) }))
	waiting("of a notifier that there is no more", "team")
	waiting("of one that stays", "oncall", first)
	_, err = s.st.Prune(ctx, start.Add(2*time.Hour))
	s.must(err)
	waiting("what waits is not deleted", "oncall", first)
	told, err = s.st.Reader().NoticesOfIncident(ctx, "i", 10)
	s.must(err)
	s.same("what was told long ago", 0, len(told))
}
