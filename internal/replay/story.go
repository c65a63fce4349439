package replay

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// Story is the story as data.
type Story struct {
	Incidents  []Incident   `json:"incidents"`
	Deliveries []Delivery   `json:"deliveries"`
	NotCalled  []NotCalled  `json:"notCalled"`
	Undetected []Undetected `json:"undetected"`
	NotFitted  []NotFitted  `json:"notFitted"`

	Recordings []string `json:"-"` // their names, in the order in which they were replayed
}

// Incident is what the history says of one incident. Times are seconds of the recording.
type Incident struct {
	Recording    string   `json:"recording"`
	EventType    string   `json:"eventType"`
	Namespace    string   `json:"namespace"`
	ResourceName string   `json:"resourceName"`
	Container    string   `json:"container"`
	Workload     string   `json:"workload"`
	FirstSeen    float64  `json:"firstSeen"`
	LastSeen     float64  `json:"lastSeen"`
	ResolvedAt   *float64 `json:"resolvedAt"` // null while it is open
	Resolution   *string  `json:"resolution"` // null while it is open
	CausedBy     *string  `json:"causedBy"`   // event type of the incident that caused it, or null
	Events       int64    `json:"events"`
	Duplicates   int64    `json:"duplicates"` // of the events

	Message string `json:"-"` // of the newest event
}

// Delivery is one call that would have been made. Times are seconds of the recording.
type Delivery struct {
	Recording string  `json:"recording"`
	Hook      string  `json:"hook"`
	EventType string  `json:"eventType"`
	Group     string  `json:"group"`
	Agent     string  `json:"agent"`
	At        float64 `json:"at"`    // when the agent is called
	DueAt     float64 `json:"dueAt"` // when the call was made due: earlier than At by groupWait
	Prompt    string  `json:"prompt"`
	Events    int64   `json:"events"` // that the call stands for
}

// Why an agent is not called, besides the reasons of delivery.Skip and the dispositions OverBudget and LoopGuard.
const stillWaiting = "waiting" // when the replay ends

// NotCalled is a call that would not have been made, at that time. What a budget or the loop guard held back may have been
// made later: then it is among the deliveries too.
type NotCalled struct {
	Recording string  `json:"recording"`
	Hook      string  `json:"hook"`
	EventType string  `json:"eventType"`
	Group     string  `json:"group"`
	Agent     string  `json:"agent"`
	At        float64 `json:"at"`
	Reason    string  `json:"reason"` // such as recovered-before, over-budget, loop-guard or waiting
	Why       string  `json:"why"`    // in a sentence
}

// Undetected is a failure that khook has no event type for.
type Undetected struct {
	Recording    string  `json:"recording"`
	Namespace    string  `json:"namespace"`
	ResourceName string  `json:"resourceName"`
	At           float64 `json:"at"`
	Message      string  `json:"message"`
}

// maxStory bounds the story of one recording.
const maxStory = 1_000_000

// story reads the story of a recording from the history.
func (r *replay) story(name string, failed []*failedPod) (Story, error) {
	incidents, err := r.store.AllIncidents(r.ctx, maxStory)
	if err != nil {
		return Story{}, err
	}
	deliveries, err := r.store.AllDeliveries(r.ctx, maxStory)
	if err != nil {
		return Story{}, err
	}
	byID, detected := map[string]*incident.Incident{}, map[string]bool{}
	for _, inc := range incidents {
		byID[inc.ID], detected[inc.Resource.UID] = inc, true
	}
	var story Story
	for _, inc := range incidents {
		story.Incidents = append(story.Incidents, r.incident(name, inc, byID[inc.CausedBy]))
	}
	for _, d := range deliveries {
		if err := r.tellDelivery(&story, name, d); err != nil {
			return Story{}, err
		}
	}
	for _, h := range r.holds.told {
		story.NotCalled = append(story.NotCalled, r.held(name, h))
	}
	for _, pod := range failed {
		if !detected[pod.uid] {
			story.Undetected = append(story.Undetected, Undetected{
				Recording: name, Namespace: pod.namespace, ResourceName: pod.name, At: seconds(pod.at), Message: pod.message,
			})
		}
	}
	if story.NotFitted, err = r.notFitted(name, incidents); err != nil {
		return Story{}, err
	}
	slices.SortStableFunc(story.Deliveries, func(a, b Delivery) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(story.NotCalled, func(a, b NotCalled) int { return cmp.Compare(a.At, b.At) })
	return story, nil
}

func (r *replay) incident(recording string, inc, cause *incident.Incident) Incident {
	told := Incident{
		Recording: recording, EventType: string(inc.Type), Namespace: inc.Resource.Namespace, ResourceName: inc.Resource.Name,
		Container: inc.Container, Workload: inc.Workload.String(),
		FirstSeen: r.seconds(inc.FirstSeen), LastSeen: r.seconds(inc.LastSeen),
		Events: inc.Events, Duplicates: inc.Duplicates, Message: inc.Message,
	}
	if !inc.Open() {
		at, resolution := r.seconds(inc.ResolvedAt), string(inc.Resolution)
		told.ResolvedAt, told.Resolution = &at, &resolution
	}
	if cause != nil {
		t := string(cause.Type)
		told.CausedBy = &t
	}
	return told
}

// tellDelivery adds a delivery to the story: the call, or why there was none.
func (r *replay) tellDelivery(story *Story, recording string, d *delivery.Delivery) error {
	none := NotCalled{
		Recording: recording, Hook: d.Hook.String(), EventType: string(d.EventType), Group: d.Group, Agent: d.Agent.String(),
		At: r.seconds(d.EndedAt), Reason: string(d.Skipped), Why: d.Failure,
	}
	switch {
	case d.Skipped != "":
		story.NotCalled = append(story.NotCalled, none)
		return nil
	case !d.State.Ended():
		none.At, none.Reason = r.seconds(d.CreatedAt), stillWaiting
		none.Why = "the call waits for further failures until " + d.NextAt.UTC().Format(time.RFC3339) + ", which is after the end of the replay"
		story.NotCalled = append(story.NotCalled, none)
		return nil
	}
	events, err := r.store.DeliveryEvents(r.ctx, d.ID)
	story.Deliveries = append(story.Deliveries, Delivery{
		Recording: recording, Hook: d.Hook.String(), EventType: string(d.EventType), Group: d.Group,
		Agent: d.Agent.String(), At: r.seconds(d.CalledAt), DueAt: r.seconds(d.CreatedAt), Prompt: d.Prompt, Events: events,
	})
	return err
}

// held is what the story says of a call that is held back.
func (r *replay) held(recording string, h hold) NotCalled {
	told := NotCalled{
		Recording: recording, Hook: h.Hook.String(), Group: h.Group, At: r.seconds(h.at), Reason: string(h.Hold), Why: h.Why,
	}
	for _, c := range r.hooks.In(h.Hook.Namespace) {
		if c.Hook == h.Hook && c.Key == h.Config {
			told.EventType, told.Agent = string(c.EventType), c.Agent.String()
		}
	}
	return told
}

// seconds is a time as seconds of the recording, to the millisecond.
func (r *replay) seconds(t time.Time) float64 { return seconds(t.Sub(r.base)) }

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
