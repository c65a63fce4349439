package ledger

import (
	"context"
	"maps"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// endAgain is how long the end of an incident waits that could not be saved because of what it says.
const endAgain = 10 * time.Minute

// EndQuiet ends the incidents of which nothing new was seen for the window. While the cluster
// was not watched nothing could be seen: that time, everything before watchedSince, does not
// count.
func (l *Ledger) EndQuiet(ctx context.Context, watchedSince time.Time) error {
	return l.endQuiet(ctx, watchedSince, l.quiet(watchedSince))
}

// quiet returns the keys of the incidents that should end.
func (l *Ledger) quiet(watchedSince time.Time) []incident.ProblemKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.cfg.Clock.Now()
	var due []incident.ProblemKey
	for key, inc := range l.open.byKey {
		if !l.endsAt(inc, watchedSince).After(now) {
			due = append(due, key)
		}
	}
	return due
}

// endQuiet ends the incidents in the keys, unless there was news of them. One whose row can't be saved
// does not keep the others open.
func (l *Ledger) endQuiet(ctx context.Context, watchedSince time.Time, due []incident.ProblemKey) error {
	if len(due) == 0 {
		return nil
	}
	err := l.transact(ctx, func(b *batch) error {
		for _, key := range due {
			inc := b.open.byKey[key]
			if inc == nil {
				continue
			}
			if at := b.endsAt(inc, watchedSince); !at.After(b.now) {
				b.end(b.find(key), incident.Quiet, quietAt(inc, watchedSince, b.cfg.QuietAfter))
			}
		}
		return nil
	})
	if _, atFault := store.FaultOf(err); !atFault {
		return err
	}
	if len(due) == 1 {
		return l.leaveOpen(ctx, due[0], err)
	}
	half := len(due) / 2
	if err := l.endQuiet(ctx, watchedSince, due[:half]); err != nil {
		return err
	}
	return l.endQuiet(ctx, watchedSince, due[half:])
}

// leaveOpen puts the end of an incident off whose row can't be saved.
func (l *Ledger) leaveOpen(ctx context.Context, key incident.ProblemKey, cause error) error {
	if err := l.store.Probe(ctx); err != nil {
		return cause // it is not this row
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.endless, func(id string, _ time.Time) bool { _, open := l.open.byID[id]; return !open })
	if inc := l.open.byKey[key]; inc != nil {
		l.endless[inc.ID] = l.cfg.Clock.Now().Add(endAgain)
		l.cfg.Log.Error(cause, "the end of an incident can't be saved, it stays open for now", "incident", inc.ID,
			"namespace", inc.Resource.Namespace, "resource", inc.Resource.Name, "in", endAgain)
	}
	return nil
}

// endsAt is when the incident should end as quiet.
func (l *Ledger) endsAt(inc *incident.Incident, watchedSince time.Time) time.Time {
	at := quietAt(inc, watchedSince, l.cfg.QuietAfter)
	if again, ok := l.endless[inc.ID]; ok && again.After(at) {
		return again
	}
	return at
}

func quietAt(inc *incident.Incident, watchedSince time.Time, after time.Duration) time.Time {
	from := inc.LastSeen
	if inc.ObservedAt.After(from) { // a node's clock may be behind
		from = inc.ObservedAt
	}
	if watchedSince.After(from) {
		from = watchedSince
	}
	return from.Add(after)
}
