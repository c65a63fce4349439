package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/agent/kagenttest"
)

// who is the speaker of a line of the story, with a colour.
type who struct{ name, colour string }

var (
	me           = who{"demo", "2"}
	cluster      = who{"cluster", "31"}
	khookSpeaker = who{"khook", "36"}
	agentSpeaker = who{"agent", "33"}
)

// teller prints the story as it happens.
type teller struct {
	start   time.Time
	colours bool
	players errgroup.Group

	mu sync.Mutex
}

func newTeller() *teller {
	info, err := os.Stdout.Stat()
	return &teller{start: time.Now(), colours: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""}
}

func (t *teller) say(w who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := fmt.Sprintf("%-7s", w.name)
	if t.colours {
		name = "\033[" + w.colour + "m" + name + "\033[0m"
	}
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n                 │ ")
	fmt.Printf("%6.1fs  %s  %s\n", time.Since(t.start).Seconds(), name, text)
}

// called tells of a message that the agent received, and of what it is about to answer.
func (t *teller) called(m kagenttest.Message, answer string) {
	t.say(agentSpeaker, "%s received this prompt:\n%s", m.Agent, m.Text)
	time.AfterFunc(2*time.Second, func() { t.say(agentSpeaker, "%s answers:\n%s", m.Agent, answer) })
}

// follow prints what khook tells as Kubernetes Events on the Hook.
func (t *teller) follow(ctx context.Context, c client.WithWatch) {
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, &eventsv1.EventList{}, client.InNamespace(namespace))
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		for ev := range w.ResultChan() {
			if e, ok := ev.Object.(*eventsv1.Event); ok && ev.Type == watch.Added && e.Regarding.Kind == "Hook" {
				t.say(khookSpeaker, "%s: %s", e.Reason, e.Note)
			}
		}
	}
}
