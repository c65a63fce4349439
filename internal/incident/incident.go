package incident

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Status of an Event.
type Status string

// The statuses of events.
const (
	Firing    Status = "firing"    // it opened an incident that is still open
	Duplicate Status = "duplicate" // it repeated an open incident
	Resolved  Status = "resolved"  // it opened an incident that has since ended
)

// Event is khook's record of one Observed signal.
type Event struct {
	ID         int64 // given by the store; grows with time
	Key        string
	Cluster    string
	IncidentID string
	Type       EventType
	Status     Status
	At         time.Time
	RecordedAt time.Time

	Observation // without labels, which its incident has
	Count       int32
}

// Resolution says why an incident ended.
type Resolution string

// The resolutions of incidents; empty while the incident is open.
const (
	Recovered Resolution = "recovered" // seen healthy again
	Quiet     Resolution = "quiet"     // nothing new for the window
	WasGone   Resolution = "gone"      // the resource was deleted
)

// Incident is one problem on one resource (and container), from its first event to its
// resolution.
type Incident struct {
	ID      string // a UUID derived from the first event's key
	Cluster string
	Type    EventType

	// Observation is that of the newest event, but for the labels: they are those of when it opened.
	Observation

	FirstSeen  time.Time
	LastSeen   time.Time // the newest event, or the newest sign that it goes on, as the cluster told the time
	ObservedAt time.Time // when khook last saw either, by its own clock: it ends as quiet by that
	ResolvedAt time.Time
	Resolution Resolution
	CausedBy   string // ID of the incident that caused this one

	// UnheardSince is since when nothing is heard of what could tell whether it goes on, such as a lost node; zero
	// while that is heard of.
	UnheardSince time.Time
	Reopenings   int64     // how often it was opened again, see Reopen
	QuietAt      time.Time // when it had ended as quiet, before it was opened again last
	ReopenedAt   time.Time

	Events     int64 // all of them, the duplicates included
	Duplicates int64 // events that repeated it while it was open
}

// Open says whether the incident has not ended.
func (i *Incident) Open() bool { return i.Resolution == "" }

// ProblemKey is what at most one open incident exists for.
type ProblemKey struct {
	UID       string // of the resource
	Type      EventType
	Container string
}

// ProblemKey is what the incident is about; at most one of a key is open.
func (i *Incident) ProblemKey() ProblemKey { return ProblemKey{i.Resource.UID, i.Type, i.Container} }

// ProblemKey is that of the incident that the signal opens, repeats or ends.
func (s *Signal) ProblemKey() ProblemKey { return ProblemKey{s.Resource.UID, s.Type, s.Container} }

// idSpace is the UUID namespace of all IDs that khook derives.
var idSpace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("khook.kagent.dev"))

// DeriveID returns the UUID (version 5) that parts stand for: the same parts, the same ID, on
// every replica and after every restart.
func DeriveID(parts ...string) string {
	var joined []byte
	for _, p := range parts {
		joined = append(joined, p...)
		joined = append(joined, 0)
	}
	return uuid.NewSHA1(idSpace, joined).String()
}

// Origin is where incidents are from.
type Origin struct {
	Cluster string // its name
	Salt    string // what the IDs of its incidents and deliveries are derived from, whatever its name is
}

// Open returns the incident that s, an Observed signal, opens.
func Open(from Origin, s *Signal) *Incident {
	i := &Incident{
		ID: DeriveID("incident", from.Salt, s.Key), Cluster: from.Cluster, Type: s.Type,
		Observation: s.Observation, FirstSeen: s.At, LastSeen: s.At,
	}
	i.Observe(s)
	i.Duplicates = 0
	return i
}

// Observe adds the occurrence s to the incident.
func (i *Incident) Observe(s *Signal) {
	i.Events++
	i.Duplicates++
	i.Touch(s.At)
	i.UnheardSince = time.Time{}
	i.Reason, i.Message = s.Reason, s.Message
	i.Attributes = i.Attributes.repeatedBy(s.Attributes)
	if s.Node != "" {
		i.Node = s.Node
	}
}

// LastSignal is what the incident was last told by, as far as Hooks ask about it.
func (i *Incident) LastSignal() *Signal {
	return &Signal{Kind: Observed, Type: i.Type, At: i.LastSeen, Observation: i.Observation}
}

// ObservedNow notes that khook saw something of the problem now.
func (i *Incident) ObservedNow(now time.Time) {
	if now.After(i.ObservedAt) {
		i.ObservedAt = now
	}
}

// Unheard notes that nothing is heard of what could tell whether the incident goes on, since a time.
func (i *Incident) Unheard(since time.Time) {
	if i.UnheardSince.IsZero() {
		i.UnheardSince = since
	}
}

// Reopen opens an incident again that ended as quiet, because it is seen at now that it goes on: it had not ended. Its
// labels, events and first time stay. It returns false if it did not end as quiet.
func (i *Incident) Reopen(now time.Time) bool {
	if i.Resolution != Quiet {
		return false
	}
	i.QuietAt, i.ReopenedAt = i.ResolvedAt, now
	i.Reopenings++
	i.Resolution, i.ResolvedAt = "", time.Time{}
	return true
}

// Touch notes that the problem was still seen at t.
func (i *Incident) Touch(t time.Time) {
	if t.After(i.LastSeen) {
		i.LastSeen = t
	}
}

// Resolve ends the incident at t. An incident that has ended stays as it ended.
func (i *Incident) Resolve(r Resolution, t time.Time) {
	if !i.Open() {
		return
	}
	if t.Before(i.LastSeen) {
		t = i.LastSeen
	}
	i.Resolution, i.ResolvedAt = r, t
}

// NewEvent returns the event that s becomes in the incident i, recorded at now. Its status is
// Firing if it is the incident's first, else Duplicate.
func NewEvent(i *Incident, s *Signal, now time.Time) *Event {
	status := Duplicate
	if i.Events <= 1 {
		status = Firing
	}
	ev := &Event{
		Key: s.Key, Cluster: i.Cluster, IncidentID: i.ID, Type: s.Type, Status: status,
		At: s.At, RecordedAt: now, Observation: s.Observation, Count: max(1, s.Count),
	}
	ev.Attributes = s.Attributes.withoutLabels()
	return ev
}

// Shared says what else in the cluster fails for the same reason: many workloads that fail at
// once often have one cause, such as a node that is gone or a registry that refuses.
type Shared struct {
	Reason    string    `json:"reason"`
	Resources int       `json:"resources"` // with an open incident of the same type and reason
	Workloads int       `json:"workloads"` // of those resources
	Nodes     []string  `json:"nodes,omitempty"`
	Since     time.Time `json:"since"`
}

// MaxSharedNodes bounds Shared.Nodes.
const MaxSharedNodes = 20

// Subject describes an incident in a few words, such as "oom-kill of cart-1 (container app)".
func (i *Incident) Subject() string {
	if i.Container == "" {
		return fmt.Sprintf("%s of %s", i.Type, i.Resource.Name)
	}
	return fmt.Sprintf("%s of %s (container %s)", i.Type, i.Resource.Name, i.Container)
}
