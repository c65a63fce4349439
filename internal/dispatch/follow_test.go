package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

func seldom(c *Config) { c.PollMin, c.PollMax = time.Hour, time.Hour }

// reading waits until the streams of so many tasks were asked for.
func (r *rig) reading(n int) {
	r.Helper()
	r.eventually("the stream is read", func() bool { return len(r.kagent.Requests(kagenttest.Stream)) == n }, func() string { return fmt.Sprint(len(r.kagent.Requests())) })
}

func TestTheStreamTellsTheEndBeforeTheNextLook(t *testing.T) {
	for _, dialect := range agent.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			free := make(chan struct{})
			r := newRig(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Until: free, Answer: "done"})}, seldom)
			d := r.untilState(r.due(), delivery.Working)
			r.reading(1)
			close(free)
			if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" {
				t.Errorf("answer %q", d.Answer)
			}
			r.once(d)
			r.nothingLeft()
		})
	}
}

func TestAfterARestartTheStreamIsReadAgain(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Until: free})}, seldom)
	d := r.untilState(r.due(), delivery.Working)
	r.reading(1)
	r.halt()
	r.start()
	r.reading(2)
	close(free)
	r.untilState(d, delivery.Succeeded)
	r.once(d)
}

func TestABrokenStreamGoesBackToPolling(t *testing.T) {
	for name, fault := range map[string]kagenttest.Fault{
		"dropped": {Drop: true}, "an error": {Status: 500}, "garbage": {Body: "data: {\n\n", Header: map[string]string{"Content-Type": "text/event-stream"}},
	} {
		t.Run(name, func(t *testing.T) {
			free := make(chan struct{})
			r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Until: free, Answer: "done"})})
			fault.On = kagenttest.Stream
			r.kagent.Inject(fault)
			d := r.untilState(r.due(), delivery.Working)
			r.reading(1)
			seen := len(r.kagent.Requests(kagenttest.Get))
			r.eventually("it is polled", func() bool { return len(r.kagent.Requests(kagenttest.Get)) > seen+3 }, func() string { return "not yet" })
			close(free)
			if d = r.untilState(d, delivery.Succeeded); d.Answer != "done" {
				t.Errorf("answer %q", d.Answer)
			}
			r.reading(1) // and not again
			r.once(d)
			r.nothingLeft()
		})
	}
}

func TestWithoutAStreamTheTaskIsPolled(t *testing.T) {
	for name, opts := range map[string]kagenttest.Options{"none offered": {NoStream: true}, "too many are read": {}} {
		t.Run(name, func(t *testing.T) {
			opts.Script = acts(kagenttest.Act{Work: 50 * time.Millisecond, Answer: "done"})
			r := newRig(t, opts)
			if !opts.NoStream {
				r.d.streams.Store(r.d.cfg.Followers)
			}
			d := r.untilState(r.due(), delivery.Succeeded)
			if d.Answer != "done" || len(r.kagent.Requests(kagenttest.Stream)) != 0 {
				t.Errorf("answer %q, %d streams", d.Answer, len(r.kagent.Requests(kagenttest.Stream)))
			}
		})
	}
}

func TestRunEndsWhileTasksAreFollowedAndCallsHang(t *testing.T) {
	r := newRig(t, kagenttest.Options{Script: acts(kagenttest.Act{Never: true})}, seldom, func(c *Config) { c.Grace = time.Millisecond })
	r.untilState(r.due(), delivery.Working)
	r.reading(1)
	r.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Hang: true, Times: -1})
	hung := r.untilState(r.due(), delivery.Calling)
	r.eventually("the call hangs", func() bool { return len(r.kagent.Requests(kagenttest.Send)) == 2 }, func() string { return "not yet" })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r.stop()
	select {
	case <-r.ended:
	case <-ctx.Done():
		t.Fatal("Run goes on after its context has ended")
	}
	if hung = r.now(hung); hung.State != delivery.Calling {
		t.Errorf("what nobody knows is taken to be %s", hung.State)
	}
}

// TestAMessageUnderWayIsStillAnsweredAtTheEnd stops khook while a call takes its time.
func TestAMessageUnderWayIsStillAnsweredAtTheEnd(t *testing.T) {
	free := make(chan struct{})
	r := newRig(t, kagenttest.Options{Script: func(kagenttest.Message) kagenttest.Act {
		<-free
		return kagenttest.Act{Never: true}
	}}, func(c *Config) { c.Grace = time.Minute })
	d := r.due()
	r.eventually("the message has arrived", func() bool { return len(r.kagent.Messages()) == 1 }, func() string { return "not yet" })
	r.stop()
	close(free)
	<-r.ended
	if d = r.now(d); d.State != delivery.Working || d.TaskID == "" {
		t.Errorf("%s, task %q", d.State, d.TaskID)
	}
}
