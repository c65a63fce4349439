package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
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
	out     io.Writer
	start   time.Time
	colours bool
	width   func() int // of the terminal, in characters; 0 if there is none
	players errgroup.Group

	mu      sync.Mutex
	warning bool // that what prompts quote is data has been told
}

func newTeller(out io.Writer) *teller {
	t := &teller{out: out, start: time.Now(), width: func() int { return 0 }}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.colours = os.Getenv("NO_COLOR") == ""
		t.width = func() int { // each time, since people change their windows
			w, _, _ := term.GetSize(int(f.Fd()))
			return w
		}
	}
	return t
}

// margin is where what is said begins; what follows is set off by a bar.
const (
	margin = 18
	bar    = "                 │ "
)

func (t *teller) say(w who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := fmt.Sprintf("%-7s", w.name)
	if t.colours {
		name = "\033[" + w.colour + "m" + name + "\033[0m"
	}
	room := t.width()
	if room > 0 {
		room = max(room-margin-1, 30)
	}
	text := strings.Join(wrap(fmt.Sprintf(format, args...), room), "\n"+bar)
	fmt.Fprintf(t.out, "%6.1fs  %s  %s\n", time.Since(t.start).Seconds(), name, text)
}

// all says several things.
func (t *teller) all(w who, lines []string) {
	for _, line := range lines {
		t.say(w, "%s", line)
	}
}

// plain prints text as it is: tables, and what is to be copied.
func (t *teller) plain(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.out, text)
}

// wrap breaks lines between words so that they are at most width characters wide, unless that is 0. A word that is wider, such as
// an ID, stays whole.
func wrap(text string, width int) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		for width > 0 && len([]rune(line)) > width {
			head, rest, ok := split(line, width)
			if !ok {
				break
			}
			lines, line = append(lines, head), rest
		}
		lines = append(lines, line)
	}
	return lines
}

// split takes from a line what fits; false if it has one word only.
func split(line string, width int) (head, rest string, ok bool) {
	runes := []rune(line)
	at := strings.LastIndex(string(runes[:width+1]), " ")
	if at <= 0 {
		at = strings.Index(line, " ")
	}
	if at <= 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// called tells of a message that the agent received, and of what it is about to answer.
func (t *teller) called(m kagenttest.Message, answer string, after time.Duration) {
	t.say(agentSpeaker, "%s received this prompt:\n%s", m.Agent, t.shortened(m.Text))
	time.AfterFunc(after, func() { t.say(agentSpeaker, "%s answers:\n%s", m.Agent, answer) })
}

// shortened leaves out khook's note on what is quoted where it was shown already.
func (t *teller) shortened(asked string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, _, found := strings.Cut(asked, "\n\nText between ")
	if found && t.warning {
		return own + "\n(and the note on what is between ⟦ and ⟧, as above)"
	}
	t.warning = t.warning || found
	return asked
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
