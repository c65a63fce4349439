package dispatch

import (
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
)

// note is what a run remembers of one delivery beside its row. It may be lost: then a step is
// taken once more, or a few attempts later.
type note struct {
	sent *agent.Task   // what the agent made of the message, until it is recorded
	took time.Duration // of that call
	bad  int           // answers in a row that were none
	gone time.Time     // since when kagent does not know the task
}

// notes are those of the deliveries under way. The steps of one delivery never overlap, so a note
// is read and written back without a lock over both.
type notes struct {
	mu   sync.Mutex
	byID map[string]note
}

func newNotes() *notes { return &notes{byID: map[string]note{}} }

func (n *notes) get(id string) note {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byID[id]
}

func (n *notes) put(id string, what note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if what == (note{}) {
		delete(n.byID, id)
		return
	}
	n.byID[id] = what
}

func (n *notes) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.byID)
}
