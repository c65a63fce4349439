package notify

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/proptest"
)

// TestWhateverFailsEachThingIsToldInOneMessage draws what agents ask, what people answer, what receivers do, when khook is started anew and when its
// history takes nothing. Whatever still waits in the end was told; nothing was told in two messages; and nothing was told that was not so when it
// was sent.
func TestWhateverFailsEachThingIsToldInOneMessage(t *testing.T) {
	proptest.Check(t, 60, func(rt *rapid.T) {
		to := newReceiver(t)
		defer to.Close()
		n := toReceiver("oncall", to)
		n.MaxPerHour = 3600
		r := newRig(t, n)
		defer func() { _ = r.store.Close() }()
		m := &tellersModel{rig: r, to: to, open: map[string]*delivery.Delivery{}, message: map[string]string{}}
		r.tick(2 * time.Second)
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"ask", "ask", "answer", "fail", "ask-else", "receiver", "restart", "wait", "wait", "wait"}), 5, 40).Draw(rt, "steps")
		for _, step := range steps {
			m.step(rt, step)
			m.check(rt)
		}
		to.does(nil)
		r.tick(20 * time.Minute)
		m.check(rt)
		for id, d := range m.open {
			if m.message[noticeID(d)] == "" {
				rt.Errorf("nobody was told of %s, which asks %q", id, d.Question)
			}
		}
	})
}

// tellersModel is what is asked, and what the receiver was told.
type tellersModel struct {
	*rig
	to      *receiver
	n       int
	open    map[string]*delivery.Delivery // that ask now
	message map[string]string             // by what was told, in which message
	read    int                           // of what the receiver has taken
}

func noticeID(d *delivery.Delivery) string { return d.QuestionID }

func (m *tellersModel) step(rt *rapid.T, step string) {
	switch step {
	case "ask":
		if m.n == maxItems-2 { // then all that can be told at once is told in words
			return
		}
		m.n++
		d := m.asks(fmt.Sprint("cart-", m.n), "may I?")
		m.open[d.ID] = d
		m.save(d)
	case "answer", "fail", "ask-else":
		for id, d := range m.open {
			m.end(d, step)
			if step != "ask-else" {
				delete(m.open, id)
			}
			return
		}
	case "receiver":
		mode := rapid.SampledFrom([]answer{
			{status: 200, taken: true}, {status: 200, taken: true}, {status: 502}, {status: 504, taken: true}, {status: 429, header: map[string]string{"Retry-After": "30"}},
			{status: 401}, {status: 302}, {status: 200, header: map[string]string{"Content-Type": "text/html"}},
		}).Draw(rt, "mode")
		m.to.does(func(Message) answer { return mode })
	case "restart":
		m.restart()
	case "wait":
		m.tick(time.Duration(rapid.IntRange(1, 40).Draw(rt, "seconds")) * time.Second)
	}
}

func (m *tellersModel) end(d *delivery.Delivery, how string) {
	switch how {
	case "answer":
		d.Reply = &delivery.Reply{N: 1, Decision: delivery.Approve, QuestionID: d.QuestionID}
	case "fail":
		d.State, d.EndedAt, d.Question, d.QuestionID, d.Error = delivery.Failed, m.clock.Now(), "", "", "it broke"
	case "ask-else":
		other := m.asks(d.Group[len("Deployment/"):], fmt.Sprint("and this, ", m.clock.Now().UnixNano(), "?"))
		d.Question, d.QuestionID = other.Question, other.QuestionID
	}
	m.save(d)
}

// check reads what the receiver was told since the last time.
func (m *tellersModel) check(rt *rapid.T) {
	all := m.to.got()
	for _, told := range all[m.read:] {
		for _, item := range told.Items {
			key := item.QuestionID
			if key == "" {
				key = item.ID
			}
			if was, known := m.message[key]; known && was != told.ID {
				rt.Errorf("%q was told in two messages, %s and %s", item.Title, was, told.ID)
			}
			m.message[key] = told.ID
			if d := m.open[item.DeliveryID]; item.About == "approval" && (d == nil || d.QuestionID != item.QuestionID) {
				rt.Errorf("%q was told, and waits for nobody", item.Title)
			}
		}
		if told.More > 0 {
			rt.Fatalf("%d things without words: draw fewer", told.More)
		}
	}
	m.read = len(all)
}
