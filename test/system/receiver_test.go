package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

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
