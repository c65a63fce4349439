package delivery

import (
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Configuration is how one of a Hook's configurations is told from the others, across edits of the Hook.
type Configuration struct {
	Key       string // names it within its Hook; Delivery.Config of its deliveries
	Content   string // a digest of what it is about and whom it calls; the prompt and the limits are not part of it
	EventType incident.EventType
	Agent     AgentRef
	// EditedAt is when an edit that changed Content, or added the configuration, was first taken notice of; zero if it
	// is as it was when its Hook was first loaded.
	EditedAt time.Time
}

// Renaming says that the configuration From of a Hook is now called To.
type Renaming struct{ From, To string }

// Edited compares the configurations that a Hook was known with to those that it has now, both in the order of its list.
// It returns the latter, with EditedAt, and those that have another key than before; no key is From or To more than once.
//
// A configuration stays the same one if its key stays, whatever else of it is edited. One without a name gets another key
// by an edit of its content, and one that is given a name gets that. What is left over on both sides is therefore paired,
// the nearest first: the same content, the same event type and agent, the same event type. So an edit never makes
// a new configuration, with no calls yet, of one that has called.
func Edited(known, now []Configuration, at time.Time) ([]Configuration, []Renaming) {
	now = slices.Clone(now)
	former := pairs(known, now)
	var renamed []Renaming
	for i := range now {
		was := former[i]
		switch {
		case was == nil:
			now[i].EditedAt = at
		case was.Content != now[i].Content:
			now[i].EditedAt = at
		default:
			now[i].EditedAt = was.EditedAt
		}
		if was != nil && was.Key != now[i].Key {
			renamed = append(renamed, Renaming{From: was.Key, To: now[i].Key})
		}
	}
	return now, renamed
}

// pairs finds for each of the present configurations the known one that it is; nil for one that is new.
func pairs(known, now []Configuration) []*Configuration {
	former := make([]*Configuration, len(now))
	taken := make([]bool, len(known))
	for _, same := range []func(a, b *Configuration) bool{
		func(a, b *Configuration) bool { return a.Key == b.Key },
		func(a, b *Configuration) bool { return a.Content == b.Content },
		func(a, b *Configuration) bool { return a.EventType == b.EventType && a.Agent == b.Agent },
		func(a, b *Configuration) bool { return a.EventType == b.EventType },
	} {
		for i := range now {
			if former[i] != nil {
				continue
			}
			for k := range known {
				if !taken[k] && same(&known[k], &now[i]) {
					former[i], taken[k] = &known[k], true
					break
				}
			}
		}
	}
	return former
}
