package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/notify"
)

// receiver takes what khook tells people, and keeps it.
type receiver struct {
	file string // with the notifier

	mu       sync.Mutex
	messages []notify.Message
}

func newReceiver(t testing.TB, dir string) *receiver {
	t.Helper()
	p := &receiver{file: filepath.Join(dir, "notifiers.yaml")}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m notify.Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			return // khook was stopped in the middle of it
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.messages = append(p.messages, m)
	}))
	t.Cleanup(server.Close)
	text := fmt.Sprintf("notifiers: [{name: oncall, shape: json, url: %s, groupWait: 1s, maxPerHour: 3600, tell: [needs-person, agent-failed, outcome]}]", server.URL)
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *receiver) all() []notify.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]notify.Message(nil), p.messages...)
}

// ofAllOutcomes says whose outcome people were not told of.
func (p *receiver) ofAllOutcomes(h *historyText) error {
	of := map[string]bool{}
	for _, m := range p.all() {
		for _, item := range m.Items {
			if item.Kind == notice.Outcome {
				of[item.DeliveryID] = true
			}
		}
	}
	for _, d := range h.deliveries {
		if d.Outcome != "" && !of[d.ID] {
			return fmt.Errorf("nobody was told that it is %s: %s", d.Outcome, d.Group)
		}
	}
	return nil
}

// check looks for what was told in two messages: one that is sent again has the same ID.
func (p *receiver) check(t testing.TB) {
	t.Helper()
	by := map[string]string{}
	for _, m := range p.all() {
		for _, item := range m.Items {
			if was, known := by[item.ID]; known && was != m.ID {
				t.Errorf("people were told %q in messages %s and %s", item.Title, was, m.ID)
			}
			by[item.ID] = m.ID
		}
	}
}

// TestPeopleAreToldWhatAnAgentWantsAndTheCommandTheyAreToldAnswersIt goes from the message to the answer, and to the story of the incident.
func TestPeopleAreToldWhatAnAgentWantsAndTheCommandTheyAreToldAnswersIt(t *testing.T) {
	p := newReceiver(t, t.TempDir())
	s := newStaffed(t, "--notifiers-file", p.file, "--external-url", "https://ops.example.com/khook/")
	if code, out, errs := runCLI(t, "notify", "test", "oncall", "--notifiers-file", p.file); code != 0 || !strings.Contains(out, "Notifier oncall has taken a test message") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if code, _, errs := runCLI(t, "notify", "test", "team", "--notifiers-file", p.file); code != 1 || !strings.Contains(errs, `there is no notifier "team"; there are oncall`) {
		t.Errorf("%d: %s", code, errs)
	}
	d := s.fail("approve", delivery.InputRequired)
	var item notify.Item
	eventually(t, "somebody is told", func() error {
		for _, m := range p.all() {
			for _, item = range m.Items {
				if item.DeliveryID == d.ID {
					return nil
				}
			}
		}
		return fmt.Errorf("%d messages", len(p.all()))
	})
	if item.About != "approval" || !strings.Contains(item.Text, "delete_pod") || item.Link != "https://ops.example.com/khook/deliveries/"+d.ID {
		t.Errorf("%+v", item)
	}
	approve, _, _ := strings.Cut(item.Command, ",")
	wantParts(t, s.cli(0, strings.Fields(strings.TrimPrefix(approve, "khook "))...), "is told")
	s.until(d.ID, delivery.Succeeded)
	eventually(t, "the story says that somebody was told", func() error {
		if out := s.cli(0, "incidents", "show", d.IncidentID); !strings.Contains(out, "notifier oncall was told that a person is needed: approval") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if refused := s.khook.refused(); refused != "" {
		t.Error(refused)
	}
}
