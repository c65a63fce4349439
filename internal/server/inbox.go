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

type inboxInput struct {
	OneCluster
	NamespaceFilter
}

func (s *Server) registerInbox() {
	getRoute(s, "getInbox", "/inbox", tagStory, "List what waits for a person",
		"Questions and approvals of agents, tasks that are stalled, and groups whose calls only a person lets through again; the oldest first, at most 100 of each. Those of another cluster are answered at that cluster's khook. "+textsDoc, s.inbox)
}

// inbox reads each kind from what is already kept for it. Who may not read a Hook's texts sees that something waits, and not what is asked.
func (s *Server) inbox(ctx context.Context, in *inboxInput) (api.Inbox, error) {
	box := api.Inbox{Items: []api.InboxItem{}}
	of, err := s.viewOf(ctx, in.Cluster, in.Namespace)
	if err != nil {
		return box, err
	}
	items, truncated, err := of.inbox(ctx, in.Namespace)
	if err != nil {
		return box, s.storeError(ctx, err)
	}
	box.Items, box.Truncated = append(box.Items, items...), truncated
	slices.SortStableFunc(box.Items, func(a, b api.InboxItem) int { return a.Since.Compare(b.Since) })
	return box, nil
}

// inbox is what waits in one cluster.
func (v view) inbox(ctx context.Context, namespace string) (items []api.InboxItem, truncated bool, err error) {
	rights := v.textRights()
	for _, q := range []store.DeliveryQuery{{Namespace: namespace, State: delivery.InputRequired}, {Namespace: namespace, Stalled: true, LeftToPeople: true}} {
		found, _, err := v.ListDeliveries(ctx, q, store.Paging{Limit: maxInbox + 1})
		if err != nil {
			return nil, false, err
		}
		truncated = truncated || len(found) > maxInbox
		for _, d := range found[:min(len(found), maxInbox)] {
			if item, waits := v.waiting(ctx, rights, d); waits {
				items = append(items, item)
			}
		}
	}
	guarded, err := v.HeldForPerson(ctx, namespace, time.Now().Add(-delivery.HeldFor), maxInbox+1)
	if err != nil {
		return nil, false, err
	}
	for _, g := range guarded[:min(len(guarded), maxInbox)] {
		items = append(items, api.InboxItem{
			Kind: api.InboxLoopGuard, Since: g.Since.UTC(), Cluster: v.cluster(), Hook: api.Name{Namespace: g.Hook.Namespace, Name: g.Hook.Name},
			Config: g.Config, Group: g.Group, DeliveryID: g.NewestDelivery, Text: g.Why,
		})
	}
	return items, truncated || len(guarded) > maxInbox, nil
}

// waiting is a delivery that waits for a person, with its question where the caller may read that. One that was answered or canceled
// does not wait.
func (v view) waiting(ctx context.Context, rights textRights, d *delivery.Delivery) (item api.InboxItem, waits bool) {
	item = api.InboxItem{
		Kind: api.InboxStalled, Since: d.StalledSince.UTC(), Cluster: v.cluster(), Hook: api.Name{Namespace: d.Hook.Namespace, Name: d.Hook.Name},
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
	full, err := v.Delivery(ctx, d.ID)
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
