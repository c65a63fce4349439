package dispatch

import (
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

// memo is what a run remembers of one delivery beside its row. It may be lost: then a step is
// taken once more, or a few attempts later.
type memo struct {
	sent     *agent.Task    // what the agent made of the message, until it is recorded
	took     time.Duration  // of that call
	bad      int            // times in a row that kagent was asked in vain
	spent    time.Duration  // with that
	asked    time.Time      // when it was last
	pause    time.Duration  // that was to be made then
	failures int            // steps in a row that failed
	trouble  delivery.Fault // TaskGone or Unreadable, while looks at the task say so
	since    time.Time      // since when
}

// slim is what is noted of a task beside its row: where it is, and not what it said, which the next look tells again. An answer without
// a task is all there is.
func (m memo) slim() memo {
	if m.sent != nil && m.sent.ID != "" {
		m.sent = &agent.Task{ID: m.sent.ID, ContextID: m.sent.ContextID, Dialect: m.sent.Dialect, State: agent.Working}
	}
	return m
}

// notes are those of the deliveries under way. The steps of one delivery never overlap, so a note
// is read and written back without a lock over both.
type notes struct {
	mu   sync.Mutex
	byID map[string]memo
	said map[string]map[uint64]uint64 // of each delivery's log, digests: the source of an entry, and its text
}

func newNotes() *notes { return &notes{byID: map[string]memo{}, said: map[string]map[uint64]uint64{}} }

func (n *notes) get(id string) memo {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byID[id]
}

func (n *notes) put(id string, what memo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if what == (memo{}) {
		delete(n.byID, id)
		return
	}
	n.byID[id] = what
}

// failed counts the steps in a row that failed; one that did not, or that lost against another change, begins anew.
func (n *notes) failed(id string, err error) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, known := n.byID[id]
	if err == nil || errors.Is(err, store.ErrConflict) {
		if known && m.failures > 0 {
			m.failures = 0
			n.byID[id] = m
			if m == (memo{}) {
				delete(n.byID, id)
			}
		}
		return 0
	}
	m.failures++
	n.byID[id] = m
	return m.failures
}

// maxNoted bounds the entries of one delivery that are noted. Of an agent that says more no more are kept in the history either.
const maxNoted = 2 * delivery.MaxEntries

// recorded notes which entries of a delivery's log are in the history.
func (n *notes) recorded(id string, log []delivery.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range log {
		if e.Source == "" {
			continue
		}
		if n.said[id] == nil {
			n.said[id] = map[uint64]uint64{}
		}
		if _, known := n.said[id][digest(e.Source)]; known || len(n.said[id]) < maxNoted {
			n.said[id][digest(e.Source)] = digest(e.Text)
		}
	}
}

// isRecorded says whether the entry is in the history, as far as is known.
func (n *notes) isRecorded(id string, e *delivery.Entry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was, ok := n.said[id][digest(e.Source)]
	if !ok {
		return e.Source != "" && len(n.said[id]) >= maxNoted
	}
	return was == digest(e.Text)
}

// forget drops all that is noted of a delivery.
func (n *notes) forget(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byID, id)
	delete(n.said, id)
}

func (n *notes) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.byID) + len(n.said)
}

var seed = maphash.MakeSeed()

func digest(text string) uint64 { return maphash.String(seed, text) }
