package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// witness is on the way to kagent. Of each message it notes what the history said when the first byte was about to leave: that is all that
// a khook which is killed at that moment knows of the message.
type witness struct {
	rig  *rig
	next http.RoundTripper

	mu     sync.Mutex
	d      *delivery.Delivery
	passed map[string]string // by kind, what was wrong; "" if nothing
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/medic") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.look(body)
	}
	return w.next.RoundTrip(r)
}

func (w *witness) look(body []byte) {
	var call struct {
		Method string
		Params struct{ Message struct{ TaskID string } }
	}
	_ = json.Unmarshal(body, &call)
	w.mu.Lock()
	defer w.mu.Unlock()
	row, err := w.rig.store.Delivery(context.Background(), w.d.ID)
	if err != nil {
		w.passed["history"] = err.Error()
		return
	}
	var kind string
	var announced bool
	switch call.Method {
	case "SendMessage", "message/send":
		if kind, announced = "call", row.State == delivery.Calling && row.Sent != nil; call.Params.Message.TaskID != "" {
			kind, announced = "reply", row.Reply != nil && row.Reply.Sent != nil
		}
	case "CancelTask", "tasks/cancel":
		kind, announced = "cancel", row.CancelTries > 0
	default:
		return
	}
	if !announced {
		w.passed[kind] = fmt.Sprintf("it leaves, and the history says %s, sent %+v, reply %+v, %d cancels", row.State, row.Sent, row.Reply, row.CancelTries)
	} else if _, known := w.passed[kind]; !known {
		w.passed[kind] = ""
	}
}

func TestTheHistorySaysOfEachMessageThatItMayHaveArrivedBeforeItLeaves(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			r := newRig(t, kagenttest.Options{Dialect: dialect, Cancels: true, Script: func(m kagenttest.Message) kagenttest.Act {
				if m.Reply {
					return kagenttest.Act{Never: true}
				}
				return kagenttest.Act{Ask: "may I?"}
			}})
			r.halt()
			w := &witness{rig: r, next: &http.Transport{DisableKeepAlives: true}, passed: map[string]string{}}
			r.client = func(cfg *agent.Config) { cfg.Transport = w }
			r.start()
			w.mu.Lock()
			w.d = r.due()
			w.mu.Unlock()
			d := r.untilState(w.d, delivery.InputRequired)
			if _, err := r.d.Reply(t.Context(), d.ID, "ann", delivery.Reply{Text: "yes", QuestionID: d.QuestionID}); err != nil {
				t.Fatal(err)
			}
			d = r.until(d, "the agent has the reply", func(d *delivery.Delivery) bool { return d.State == delivery.Working && d.Reply == nil })
			if _, err := r.d.Cancel(t.Context(), d.ID, "ann"); err != nil {
				t.Fatal(err)
			}
			r.untilState(d, delivery.Canceled)
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, kind := range []string{"call", "reply", "cancel"} {
				if wrong, ok := w.passed[kind]; !ok || wrong != "" {
					t.Errorf("%s: it passed %t; %s", kind, ok, wrong)
				}
			}
			if wrong := w.passed["history"]; wrong != "" {
				t.Error(wrong)
			}
		})
	}
}
