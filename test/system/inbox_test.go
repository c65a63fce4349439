package system

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
)

// TestTheInboxTellsWhatWaitsAndTheShownCommandsAnswerIt goes from the inbox to the answers, over the command line.
func TestTheInboxTellsWhatWaitsAndTheShownCommandsAnswerIt(t *testing.T) {
	s := newStaffed(t)
	hook := &v1alpha2.Hook{}
	hook.Namespace, hook.Name = s.ns, "shop"
	if out := s.cli(0, "inbox", "-n", s.ns); !strings.Contains(out, "Nothing waits") {
		t.Errorf("an empty one says: %s", out)
	}
	asks, approves := s.fail("ask", delivery.InputRequired), s.fail("approve", delivery.InputRequired)
	wantParts(t, saysHold(t, hook, v1alpha2.ConditionAgentAsks, v1alpha2.ReasonQuestionOpen), "Deployment/ask", "khook deliveries show "+asks.ID, "More agents wait")
	short := func(d api.DeliveryDetail) string { return d.QuestionID[:8] }
	out := s.cli(0, "inbox", "-n", s.ns)
	wantParts(t, out, short(asks), "question", s.ns+"/shop", "deploy/ask", "khook reply "+short(asks)+" TEXT", "May I")
	wantParts(t, out, short(approves), "approval", "deploy/approve", "khook approve "+short(approves), "delete_pod")
	if strings.Contains(out, "\x1b") {
		t.Errorf("an agent's escape sequence reaches the terminal: %q", out)
	}

	if out := s.cli(1, "approve", "00000000", "-n", s.ns); !strings.Contains(out, "no open question has that ID") || !strings.Contains(out, short(approves)) {
		t.Errorf("a question that is not open: %s", out)
	}
	if out := s.cli(2, "approve", short(approves)[:5]); !strings.Contains(out, "first 6 characters") {
		t.Errorf("a prefix that is too short: %s", out)
	}
	if out := s.cli(1, "approve", short(asks), "-n", s.ns); !strings.Contains(out, "answer with a text") {
		t.Errorf("an approval where none is asked for: %s", out)
	}
	wantParts(t, s.cli(0, "approve", short(approves)[:6], "-n", s.ns), "is told", "The agent asks:", "delete_pod")
	wantParts(t, s.cli(0, "reply", short(asks), "only this one", "-n", s.ns), "is told", "The agent asks:")
	if d := s.until(asks.ID, delivery.Succeeded); !strings.Contains(d.Answer, "only this one") {
		t.Errorf("the agent answers %q", d.Answer)
	}
	if d := s.until(approves.ID, delivery.Succeeded); !strings.Contains(d.Answer, "approve") {
		t.Errorf("the agent answers %q", d.Answer)
	}
	if out := s.cli(1, "reject", short(approves), "-n", s.ns); !strings.Contains(out, "no question is open any more") {
		t.Errorf("one that was answered: %s", out)
	}

	for _, list := range []string{"deliveries", "events"} {
		if out := s.cli(1, list, "--hook", s.ns+"/shpo"); !strings.Contains(out, "there is no Hook shpo in namespace "+s.ns) {
			t.Errorf("%s of a Hook with a typing error: %s", list, out)
		}
		if out := s.cli(0, list, "--hook", s.ns+"/shop"); !strings.Contains(out, "ask-1") && !strings.Contains(out, "deploy/ask") {
			t.Errorf("%s of the Hook: %s", list, out)
		}
	}

	stranger := caller{t, s.responder.base, s.account("eve", grant("hooks", []string{"list"}))}
	asks = s.fail("ask-again", delivery.InputRequired)
	var box api.Inbox
	eventually(t, "it waits again", func() error {
		if err := json.Unmarshal([]byte(stranger.get("/inbox?namespace="+s.ns).body), &box); err != nil || len(box.Items) != 1 {
			return fmt.Errorf("%+v: %w", box, err)
		}
		return nil
	})
	if item := box.Items[0]; item.Text != "" || item.TextsWithheld == "" || item.QuestionID != asks.QuestionID {
		t.Errorf("who may not read texts sees %+v", item)
	}
}
