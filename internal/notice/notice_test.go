package notice

import (
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// What needs a person is what no one else, and nothing that is under way, takes care of.
func TestWhatADeliveryWaitsFor(t *testing.T) {
	asks := delivery.Delivery{State: delivery.InputRequired, QuestionID: "q"}
	stalls := delivery.Delivery{State: delivery.Working, StalledSince: time.Unix(1, 0)}
	for name, tc := range map[string]struct {
		of     delivery.Delivery
		change func(*delivery.Delivery)
		want   string
	}{
		"a question":                        {asks, func(*delivery.Delivery) {}, AboutQuestion},
		"an approval":                       {asks, func(d *delivery.Delivery) { d.NeedsApproval = true }, AboutApproval},
		"answered":                          {asks, func(d *delivery.Delivery) { d.Reply = &delivery.Reply{} }, ""},
		"to be stopped by a person":         {asks, func(d *delivery.Delivery) { d.CancelRequestedBy = "ann" }, ""},
		"a question that is stalled":        {asks, func(d *delivery.Delivery) { d.StalledSince = time.Unix(1, 0) }, AboutQuestion},
		"an answered one that is stalled":   {asks, func(d *delivery.Delivery) { d.StalledSince, d.Reply = time.Unix(1, 0), &delivery.Reply{} }, ""},
		"a stalled task":                    {stalls, func(*delivery.Delivery) {}, AboutStalled},
		"one that khook stops":              {stalls, func(d *delivery.Delivery) { d.Stop = delivery.StopAsking }, ""},
		"one that was asked to stop":        {stalls, func(d *delivery.Delivery) { d.Stop = delivery.StopAsked }, ""},
		"one that can't be stopped":         {stalls, func(d *delivery.Delivery) { d.Stop = delivery.StopInVain }, AboutStalled},
		"one that a person is left with":    {stalls, func(d *delivery.Delivery) { d.Stop = delivery.StopLeft }, AboutStalled},
		"one that has ended while stalled":  {stalls, func(d *delivery.Delivery) { d.State = delivery.Succeeded }, ""},
		"one that works":                    {delivery.Delivery{State: delivery.Working}, func(*delivery.Delivery) {}, ""},
		"one whose stop a person asked for": {stalls, func(d *delivery.Delivery) { d.CancelRequestedBy = "ann" }, ""},
	} {
		d := tc.of
		if tc.change(&d); WaitsFor(&d) != tc.want {
			t.Errorf("%s waits for %q, want %q", name, WaitsFor(&d), tc.want)
		}
	}
}

// Each thing has an ID of its own, the same whenever it is looked at.
func TestANoticeIsKnownByWhatItIsAbout(t *testing.T) {
	d := &delivery.Delivery{ID: "d", State: delivery.InputRequired, QuestionID: "q", HeardAt: time.Unix(5, 0)}
	first := OfDelivery(d)[0]
	d.HeardAt = time.Unix(9, 0) // the agent says it again
	if again := OfDelivery(d)[0]; again.ID != first.ID || !first.StillSo(d) {
		t.Error("the same question is another notice")
	}
	d.QuestionID = "r"
	if again := OfDelivery(d)[0]; again.ID == first.ID || first.StillSo(d) {
		t.Error("another question is the same notice")
	}
	d.State, d.Outcome, d.EndedAt = delivery.Failed, delivery.OutcomePersisting, time.Unix(20, 0)
	all := OfDelivery(d)
	if len(all) != 2 || all[0].Kind != AgentFailed || all[1].Kind != Outcome || all[0].ID == all[1].ID {
		t.Errorf("%+v", all)
	}
	for _, over := range []delivery.State{delivery.Canceled, delivery.Succeeded} {
		if d.State, d.Outcome = over, ""; len(OfDelivery(d)) != 0 {
			t.Errorf("%s is told", over)
		}
	}
	if d.State, d.Skipped = delivery.Failed, delivery.SkipForbidden; len(OfDelivery(d)) != 0 {
		t.Error("a call that was not made is told as failed")
	}
}
