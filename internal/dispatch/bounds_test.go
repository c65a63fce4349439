package dispatch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

func TestWhatIsNotedOfAnAgentThatSaysTooMuchIsBounded(t *testing.T) {
	n := newMemos()
	said := func(i int) []delivery.Entry { return []delivery.Entry{{Source: fmt.Sprint("message ", i), Text: "x"}} }
	for i := range 10 * maxNoted {
		if e := said(i); !n.isRecorded("d", &e[0]) {
			n.recorded("d", e)
		}
	}
	if len(n.said["d"]) != maxNoted {
		t.Errorf("%d entries are noted", len(n.said["d"]))
	}
	if first := said(0)[0]; !n.isRecorded("d", &first) {
		t.Error("what is noted is recorded anew")
	}
}

// ahead is an agent whose stream says that the task has ended, and whose task does not.
type ahead struct {
	crowd
	looks *int
}

// Task implements Agent.
func (a ahead) Task(context.Context, delivery.AgentRef, string) (agent.Task, error) {
	*a.looks++
	return agent.Task{ID: "t", State: agent.Working}, nil
}

// Follow implements Agent.
func (a ahead) Follow(context.Context, delivery.AgentRef, string, func(agent.Task)) (agent.Task, error) {
	return agent.Task{ID: "t", State: agent.Completed}, nil
}

func TestAStreamAheadOfItsTaskDoesNotMakeThousandsOfLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		d := New(Config{Follow: true, Grace: -1}, nil, ahead{looks: &looks})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		dl := delivery.Delivery{ID: incident.DeriveID("d"), State: delivery.Working, CreatedAt: time.Now(), CalledAt: time.Now(), Timeout: time.Hour, TaskState: "working"}
		go func() { <-ctx.Done(); d.queue.ShutDown() }()
		d.stream(ctx, dl)
		for {
			id, over := d.queue.Get()
			if over {
				break
			}
			_, _ = d.agent.Task(ctx, dl.Agent, dl.TaskID)
			d.stream(ctx, dl)
			d.queue.Done(id)
		}
		d.followers.Wait()
		if looks == 0 || looks > 300 {
			t.Errorf("%d looks in a minute", looks)
		}
		time.Sleep(time.Minute)
	})
}

// TestWhatIsNotedOfADeliveryIsBounded: what an agent said is in the history, and not in memory until it is there.
func TestWhatIsNotedOfADeliveryIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	told := agent.Task{ID: "task", ContextID: "session", Dialect: agent.Kagent10, State: agent.Completed, Answer: long, Entries: []agent.Entry{{ID: "1", Text: long}}}
	if kept := (memo{sent: &told}).slim().sent; kept.Answer != "" || len(kept.Entries) != 0 || kept.ID != "task" || kept.ContextID != "session" || kept.State.Ended() {
		t.Errorf("%d bytes of the answer, %d entries, task %q, %s", len(kept.Answer), len(kept.Entries), kept.ID, kept.State)
	}
	direct := agent.Task{State: agent.Completed, Answer: "all there is"}
	if kept := (memo{sent: &direct}).slim().sent; kept.Answer != "all there is" {
		t.Error("an answer without a task can't be read again")
	}
	n := newMemos()
	for i := range 10 * maxNoted {
		n.recorded("d", []delivery.Entry{{Source: fmt.Sprint("message ", i), Text: "x"}})
	}
	if len(n.said["d"]) > maxNoted {
		t.Errorf("%d entries are noted", len(n.said["d"]))
	}
}
