package server

import (
	"context"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store"
)

// maxInbox bounds how many things of each kind an inbox looks at; texts are read one by one.
const maxInbox = 100

type inboxInput struct{ NamespaceFilter }

func (s *Server) registerInbox() {
	getRoute(s, "getInbox", "/inbox", tagStory, "List what waits for a person",
		"Questions and approvals of agents, tasks that are stalled, and groups whose calls only a person lets through again; the oldest first, at most 100 of each. "+textsDoc, s.inbox)
}

// inbox reads each kind from what is already kept for it. Who may not read a Hook's texts sees that something waits, and not what is asked.
func (s *Server) inbox(ctx context.Context, in *inboxInput) (api.Inbox, error) {
	box := api.Inbox{Items: []api.InboxItem{}}
	if err := s.allow(ctx, in.Namespace); err != nil {
		return box, err
	}
	rights := s.textRights()
	for _, q := range []store.DeliveryQuery{{Namespace: in.Namespace, State: delivery.InputRequired}, {Namespace: in.Namespace, Stalled: true, LeftToPeople: true}} {
		found, _, err := s.cfg.Reader.ListDeliveries(ctx, q, store.Paging{Limit: maxInbox + 1})
		if err != nil {
			return box, s.storeError(ctx, err)
		}
		box.Truncated = box.Truncated || len(found) > maxInbox
		for _, d := range found[:min(len(found), maxInbox)] {
			if item, waits := s.waiting(ctx, rights, d); waits {
				box.Items = append(box.Items, item)
			}
		}
	}
	guarded, err := s.cfg.Reader.HeldForPerson(ctx, in.Namespace, time.Now().Add(-delivery.HeldFor), maxInbox+1)
	if err != nil {
		return box, s.storeError(ctx, err)
	}
	box.Truncated = box.Truncated || len(guarded) > maxInbox
	for _, g := range guarded[:min(len(guarded), maxInbox)] {
		box.Items = append(box.Items, api.InboxItem{
			Kind: api.InboxLoopGuard, Since: g.Since.UTC(), Hook: api.Name{Namespace: g.Hook.Namespace, Name: g.Hook.Name},
			Config: g.Config, Group: g.Group, DeliveryID: g.NewestDelivery, Text: g.Why,
		})
	}
	slices.SortStableFunc(box.Items, func(a, b api.InboxItem) int { return a.Since.Compare(b.Since) })
	return box, nil
}

// waiting is a delivery that waits for a person, with its question where the caller may read that. One that was answered or canceled
// does not wait.
func (s *Server) waiting(ctx context.Context, rights textRights, d *delivery.Delivery) (item api.InboxItem, waits bool) {
	item = api.InboxItem{
		Kind: api.InboxStalled, Since: d.StalledSince.UTC(), Hook: api.Name{Namespace: d.Hook.Namespace, Name: d.Hook.Name},
		Config: d.Config, Group: d.Group, Agent: &api.Name{Namespace: d.Agent.Namespace, Name: d.Agent.Name}, DeliveryID: d.ID,
	}
	if about := notice.WaitsFor(d); about == "" || about == notice.AboutStalled {
		return item, about != ""
	}
	item.Kind, item.Since, item.QuestionID = api.InboxQuestion, d.CreatedAt.UTC(), d.QuestionID
	if !d.HeardAt.IsZero() {
		item.Since = d.HeardAt.UTC()
	}
	if d.NeedsApproval {
		item.Kind = api.InboxApproval
	}
	full, err := s.cfg.Reader.Delivery(ctx, d.ID)
	if err != nil {
		return item, true // it is gone, or can't be read now: that it waits is so all the same
	}
	if notice.WaitsFor(full) == "" { // a person has answered, and the agent is about to get it
		return item, false
	}
	_, shaped, err := rights.show(ctx, full)
	switch {
	case err != nil:
		item.TextsWithheld = "Kubernetes could not be asked whether you may read it: try again"
	default:
		item.Text, item.TextsWithheld, item.QuestionID = shaped.Question, shaped.TextsWithheld, shaped.QuestionID
	}
	return item, true
}
