package kagenttest

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"go.uber.org/goleak"

	"github.com/kagent-dev/khook/internal/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsRecordedIsBounded(t *testing.T) {
	r, sessions, tasks := newRecords(3), newSessions(3), newTasks(3, func(context.Context) bool { return false })
	for i := range 10 {
		r.request(Request{Path: strconv.Itoa(i)})
		r.message(Message{ID: strconv.Itoa(i)})
		sessions.put(strconv.Itoa(i), "u", "")
		if _, err := tasks.Create(t.Context(), &a2a.Task{ID: a2a.TaskID(strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.requests) != 3 || len(r.messages) != 3 || len(sessions.names) != 3 || len(tasks.byID) != 3 || r.messages[2].ID != "9" {
		t.Errorf("%d requests, %d messages, %d sessions, %d tasks", len(r.requests), len(r.messages), len(sessions.names), len(tasks.byID))
	}
}

func TestAServerCanComeBackAtItsAddress(t *testing.T) {
	first := New(t, Options{})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Start(Options{Addr: strings.TrimPrefix(first.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	if again.URL != first.URL {
		t.Errorf("it came back at %s, want %s", again.URL, first.URL)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFaultOfOneAgentIsNotOfTheOthers(t *testing.T) {
	f := &faults{pending: []Fault{{On: Send, Agent: "kagent/medic", Times: 1}}}
	other, medic := delivery.AgentRef{Namespace: "kagent", Name: "cook"}, delivery.AgentRef{Namespace: "kagent", Name: "medic"}
	if _, spoiled := f.next(Send, other); spoiled {
		t.Error("it spoils a request to another agent")
	}
	if _, spoiled := f.next(Send, medic); !spoiled {
		t.Error("it does not spoil a request to its agent")
	}
}
