package server

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// withoutTexts is a delivery as those see it who may know of it, and not read what was asked and said in it.
// Lists show it to everybody like that.
func withoutTexts(d *delivery.Delivery) *delivery.Delivery {
	seen := *d
	seen.Prompt, seen.Data, seen.Answer, seen.Question = "", "", "", ""
	seen.Error = d.Failure // the same without what kagent or the agent said
	seen.TaskID, seen.ContextID = ownID(d.TaskID), ownID(d.ContextID)
	if d.Reply != nil {
		reply := *d.Reply
		reply.Text = ""
		seen.Reply = &reply
	}
	return &seen
}

// EncodeDelivery makes the record of a delivery that live streams carry: the same as in lists, for everybody.
func EncodeDelivery(d *delivery.Delivery) ([]byte, error) {
	return json.Marshal(api.DeliveryOf(withoutTexts(d)))
}

// ownID is an ID that another system chose if it is a UUID, as kagent's are, else "": an agent could say
// anything by it.
func ownID(id string) string {
	if uuid.Validate(id) != nil {
		return ""
	}
	return id
}

// withoutWords are the entries of a delivery's log as those see them who may not read its texts.
func withoutWords(log []delivery.Entry) []delivery.Entry {
	seen := make([]delivery.Entry, 0, len(log))
	for _, e := range log {
		seen = append(seen, delivery.Entry{DeliveryID: e.DeliveryID, N: e.N, At: e.At, Kind: e.Kind, State: e.State, By: e.By})
	}
	return seen
}

// textRights remembers, for one answer, of which Hooks the caller may read the deliveries' texts.
type textRights struct {
	of    view
	hooks map[delivery.HookRef]bool
}

func (v view) textRights() textRights { return textRights{v, map[delivery.HookRef]bool{}} }

// right is the one that a Hook's texts are read by: in another cluster it is the same for all Hooks.
func (t textRights) right(hook delivery.HookRef) access.Right {
	if t.of.own {
		return access.ReadTexts(hook)
	}
	return access.ReadClusterTexts(t.of.cluster())
}

func (t textRights) mayRead(ctx context.Context, hook delivery.HookRef) (bool, error) {
	if may, known := t.hooks[hook]; known {
		return may, nil
	}
	may, err := t.of.server.may(ctx, t.right(hook))
	if err == nil {
		t.hooks[hook] = may
	}
	return may, err
}

// show returns a delivery as the caller may see it, and shaped.
func (t textRights) show(ctx context.Context, d *delivery.Delivery) (*delivery.Delivery, api.Delivery, error) {
	may, err := t.mayRead(ctx, d.Hook)
	if err != nil {
		return nil, api.Delivery{}, err
	}
	if may {
		return d, api.DeliveryOf(d), nil
	}
	seen := withoutTexts(d)
	shaped := api.DeliveryOf(seen)
	shaped.TextsWithheld = "to read them ask for " + t.right(d.Hook).Grant()
	return seen, shaped, nil
}

// changed is the answer about a delivery that the caller has changed. That is done, whoever can't be asked now.
func (s *Server) changed(ctx context.Context, d *delivery.Delivery) api.Delivery {
	_, shaped, err := s.ownView().textRights().show(ctx, d)
	if err != nil {
		return api.DeliveryOf(withoutTexts(d))
	}
	return shaped
}
