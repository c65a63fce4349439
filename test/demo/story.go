package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/api/client"
	"github.com/kagent-dev/khook/internal/delivery"
)

// story asks khook what it decided and what came of it.
type story struct {
	api    *client.Client
	pace   pace
	digest *digest
	told   map[string]bool // deliveries whose outcome was told
}

func newStory(c *client.Client, p pace) *story {
	return &story{api: c, pace: p, digest: newDigest(p.of(2 * time.Minute)), told: map[string]bool{}}
}

// facts are what khook knows.
type facts struct {
	events     []api.Event // in the order in which they were recorded
	deliveries []api.Delivery
	incidents  []api.Incident
}

// askEvery is how often khook is asked what came of its calls, which its stream does not tell.
const askEvery = 2 * time.Second

// changes tells, as long as ctx lasts, that khook recorded something.
func (s *story) changes(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	stream := client.Follower{Client: s.api}
	go func() {
		_ = stream.Run(ctx, func(client.Message) error { // without it khook is asked all the same, and later
			select {
			case changed <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	return changed
}

// follow tells decisions and outcomes, until the recordings have ended and all outcomes are known, or ctx ends.
func (s *story) follow(ctx context.Context, ended <-chan struct{}, tell *teller) {
	changed := s.changes(ctx)
	for over := false; ; {
		if f, err := s.ask(ctx); err == nil {
			tell.all(khookSpeaker, s.news(f, time.Now()))
			if over && f.settled() {
				tell.all(khookSpeaker, s.digest.rest(time.Now()))
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			over, ended = true, nil
		case <-changed:
		case <-time.After(askEvery):
		}
	}
}

// ask asks khook for everything: a demo has little of it.
func (s *story) ask(ctx context.Context) (f facts, err error) {
	newest := url.Values{"limit": {"200"}}
	events, _, err := client.Fetch[api.Page[api.Event]](ctx, s.api, "/hooks/"+namespace+"/shop/events", url.Values{"limit": {"200"}, "sort": {"timestamp"}})
	if err != nil {
		return f, err
	}
	deliveries, _, err := client.Fetch[api.Page[api.Delivery]](ctx, s.api, "/deliveries", newest)
	if err != nil {
		return f, err
	}
	incidents, _, err := client.Fetch[api.Page[api.Incident]](ctx, s.api, "/incidents", newest)
	return facts{events.Items, deliveries.Items, incidents.Items}, err
}

// settled says whether it is known what came of each call.
func (f facts) settled() bool {
	for _, d := range f.deliveries {
		if d.Outcome == "" && (!d.State.Ended() || !d.VerifyUntil.IsZero()) {
			return false
		}
	}
	return true
}

// news are sentences about what was not told yet.
func (s *story) news(f facts, now time.Time) []string {
	types := map[string]api.EventType{}
	for _, d := range f.deliveries {
		types[d.ID] = d.EventType
	}
	lines := s.digest.add(f.events, types, now)
	for _, d := range f.deliveries {
		if d.Outcome != "" && !s.told[d.ID] {
			s.told[d.ID] = true
			lines = append(lines, fmt.Sprintf("outcome of the call about %s in %s: %s", d.EventType, d.Group, outcome(d)))
		}
	}
	return lines
}

// phases say when something recovered.
var phases = map[delivery.Phase]string{
	delivery.BeforeCall: " before the agent was called", delivery.DuringTask: " while the agent worked", delivery.AfterTask: " after the agent had ended",
}

func outcome(d api.Delivery) string {
	switch d.Outcome {
	case delivery.OutcomeRecovered:
		return "recovered" + phases[d.RecoveredIn]
	case delivery.OutcomePersisting:
		return "persisting, it still fails at the end of the time in which khook watches"
	default:
		return string(d.Outcome)
	}
}
