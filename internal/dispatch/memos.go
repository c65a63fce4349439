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

// memos are those of the deliveries under way. The steps of one delivery never overlap, so a memo
// is read and written back without a lock over both.
type memos struct {
	mu   sync.Mutex
	byID map[string]memo
	said map[string]map[uint64]uint64 // of each delivery's log, digests: the source of an entry, and its text
}

func newMemos() *memos { return &memos{byID: map[string]memo{}, said: map[string]map[uint64]uint64{}} }

func (all *memos) get(id string) memo {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byID[id]
}

func (all *memos) put(id string, what memo) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if what == (memo{}) {
		delete(all.byID, id)
		return
	}
	all.byID[id] = what
}

// failed counts the steps in a row that failed; one that did not, or that lost against another change, begins anew.
func (all *memos) failed(id string, err error) int {
	all.mu.Lock()
	defer all.mu.Unlock()
	m, known := all.byID[id]
	if err == nil || errors.Is(err, store.ErrConflict) {
		if known && m.failures > 0 {
			m.failures = 0
			all.byID[id] = m
			if m == (memo{}) {
				delete(all.byID, id)
			}
		}
		return 0
	}
	m.failures++
	all.byID[id] = m
	return m.failures
}

// maxNoted bounds the entries of one delivery that are noted. Of an agent that says more no more are kept in the history either.
const maxNoted = 2 * delivery.MaxEntries

// recorded notes which entries of a delivery's log are in the history.
func (all *memos) recorded(id string, log []delivery.Entry) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, e := range log {
		if e.Source == "" {
			continue
		}
		if all.said[id] == nil {
			all.said[id] = map[uint64]uint64{}
		}
		if _, known := all.said[id][digest(e.Source)]; known || len(all.said[id]) < maxNoted {
			all.said[id][digest(e.Source)] = digest(e.Text)
		}
	}
}

// isRecorded says whether the entry is in the history, as far as is known.
func (all *memos) isRecorded(id string, e *delivery.Entry) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	was, ok := all.said[id][digest(e.Source)]
	if !ok {
		return e.Source != "" && len(all.said[id]) >= maxNoted
	}
	return was == digest(e.Text)
}

// forget drops all that is noted of a delivery.
func (all *memos) forget(id string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID, id)
	delete(all.said, id)
}

func (all *memos) len() int {
	all.mu.Lock()
	defer all.mu.Unlock()
	return len(all.byID) + len(all.said)
}

var seed = maphash.MakeSeed()

func digest(text string) uint64 { return maphash.String(seed, text) }
