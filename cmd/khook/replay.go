package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	clocktesting "k8s.io/utils/clock/testing"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/detect"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/ledger"
	"github.com/kagent-dev/khook/internal/recording"
	"github.com/kagent-dev/khook/internal/store"
)

// replayCmd is khook replay.
type replayCmd struct {
	Output           string        `short:"o" help:"Form of the story: table or json." default:"table" enum:"table,json"`
	Hooks            []string      `name:"hook" help:"YAML file with Hooks to try; may be repeated." sep:"none" type:"existingfile" placeholder:"HOOK.yaml"`
	Settle           time.Duration `help:"How long time goes on after the last record, with nothing new." default:"15m"`
	PendingAfter     time.Duration `help:"How long a Pod may be Pending before that is an event." default:"1m"`
	Stabilization    time.Duration `help:"How long a Pod must be healthy before its incidents end as recovered." default:"2m"`
	QuietAfter       time.Duration `help:"How long nothing new must be seen before an incident ends as quiet." default:"10m"`
	AgentNamespaces  []string      `help:"Namespaces whose agents every Hook may call, as for the controller." default:"kagent" placeholder:"NS,..."`
	AllowPlainValues bool          `help:"Let Hooks ask for plain values, as for the controller."`
	Recordings       []string      `arg:"" name:"recording" help:"Recordings: a JSON object a line, {\"t\": seconds, \"type\": \"ADDED\", \"object\": {...}}." type:"existingfile"`
}

// Help is shown below the flags.
func (replayCmd) Help() string {
	return `Feeds recordings of a cluster's watch events through the same detectors, history and Hooks as the controller, on a virtual clock, and prints what was recorded and which agents would have been called with which prompts. Nothing is called; agents are taken to finish at once.

Several recordings are independent of each other. Times are seconds of the recording. A Hook without a namespace is tried in the namespace of the recorded Pods.`
}

// replayed is the story as data.
type replayed struct {
	Incidents  []replayedIncident `json:"incidents"`
	Deliveries []replayedDelivery `json:"deliveries"`

	names []string // of the recordings
}

type replayedIncident struct {
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

	reason, message string
}

type replayedDelivery struct {
	Recording string  `json:"recording"`
	Hook      string  `json:"hook"`
	EventType string  `json:"eventType"`
	Group     string  `json:"group"`
	Agent     string  `json:"agent"`
	At        float64 `json:"at"`
	Prompt    string  `json:"prompt"`
	Events    int64   `json:"events"` // that the call stands for
}

// Run replays the recordings and prints the story.
func (c *replayCmd) Run(ctx context.Context, io streams) error {
	hooks, err := readHooks(c.Hooks, c.policy())
	if err != nil {
		return err
	}
	story := replayed{Incidents: []replayedIncident{}, Deliveries: []replayedDelivery{}}
	for _, path := range c.Recordings {
		part, err := c.replay(ctx, path, hooks)
		if err != nil {
			return fmt.Errorf("replay %s: %w", path, err)
		}
		story.names = append(story.names, nameOf(path))
		story.Incidents = append(story.Incidents, part.Incidents...)
		story.Deliveries = append(story.Deliveries, part.Deliveries...)
	}
	if c.Output == "json" {
		enc := json.NewEncoder(io.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(story)
	}
	return story.print(io.out, len(c.Hooks) > 0)
}

func (c *replayCmd) policy() hook.Policy {
	return hook.Policy{AgentNamespaces: c.AgentNamespaces, PlainValues: c.AllowPlainValues}
}

// readHooks reads the Hooks of YAML files and refuses those that khook could not use.
func readHooks(paths []string, policy hook.Policy) ([]*v1alpha2.Hook, error) {
	var hooks []*v1alpha2.Hook
	for _, path := range paths {
		found, err := readHookFile(path)
		if err != nil {
			return nil, fmt.Errorf("read hooks: %s: %w", path, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("read hooks: %s: there is no Hook in it (apiVersion %s, kind Hook)", path, v1alpha2.SchemeGroupVersion)
		}
		for _, h := range found {
			tried := h
			if tried.Namespace == "" { // it gets that of the recording
				tried = h.DeepCopy()
				tried.Namespace = "default"
			}
			if _, errs := hook.Compile(tried, policy); len(errs) > 0 {
				return nil, fmt.Errorf("hook %s in %s can't be used: %w", h.Name, path, errs.ToAggregate())
			}
		}
		hooks = append(hooks, found...)
	}
	return hooks, nil
}

// maxHookFile bounds a file of Hooks, in bytes.
const maxHookFile = 8 << 20

// readHookFile reads the Hooks of a file with one or several YAML or JSON documents. Other kinds
// of objects are passed over, unknown fields are errors.
func readHookFile(path string) ([]*v1alpha2.Hook, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	reader := yaml.NewYAMLReader(bufio.NewReader(io.LimitReader(f, maxHookFile)))
	var hooks []*v1alpha2.Hook
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return hooks, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		var kind metav1.TypeMeta
		if err := sigsyaml.Unmarshal(doc, &kind); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if kind.Kind != "Hook" || kind.GroupVersionKind().Group != v1alpha2.SchemeGroupVersion.Group {
			continue
		}
		h := &v1alpha2.Hook{}
		if err := sigsyaml.UnmarshalStrict(doc, h); err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if h.UID == "" {
			h.UID = types.UID(h.Namespace + "/" + h.Name)
		}
		hooks = append(hooks, h)
	}
}

// nameOf is the name of a recording: its file's, without the ending.
func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".jsonl") }

// replay feeds one recording through detectors, ledger and hooks.
func (c *replayCmd) replay(ctx context.Context, path string, hooks []*v1alpha2.Hook) (replayed, error) {
	f, err := os.Open(path)
	if err != nil {
		return replayed{}, err
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		return replayed{}, err
	}
	r, err := c.newReplay(ctx, rec, hooks)
	if err != nil {
		return replayed{}, err
	}
	defer r.store.Close()
	timing := detect.Timing{PendingAfter: c.PendingAfter, Stabilization: c.Stabilization, CatchUp: time.Hour}
	if err := detect.Play(rec, timing, c.Settle, r.step); err != nil {
		return replayed{}, err
	}
	return r.story(ctx, nameOf(path))
}

// replay is khook on a virtual clock: a real ledger on a store in memory, and agents that finish
// at once.
type replay struct {
	ctx    context.Context
	base   time.Time
	clock  *clocktesting.FakePassiveClock
	store  *store.Store
	ledger *ledger.Ledger
	due    []*delivery.Delivery
	ended  []*incident.Incident
}

func (c *replayCmd) newReplay(ctx context.Context, rec *recording.Recording, hooks []*v1alpha2.Hook) (*replay, error) {
	set := hook.NewSet(c.policy())
	for _, h := range hooks {
		if h.Namespace == "" {
			h = h.DeepCopy()
			h.Namespace = rec.Namespace()
		}
		if errs := set.Put(h); len(errs) > 0 {
			return nil, fmt.Errorf("hook %s can't be used: %w", h.Name, errs.ToAggregate())
		}
	}
	r := &replay{ctx: ctx, base: rec.Base, clock: clocktesting.NewFakePassiveClock(rec.Base)}
	var err error
	if r.store, err = store.Open(ctx, store.Config{Path: ":memory:"}); err != nil {
		return nil, err
	}
	r.ledger, err = ledger.New(ctx, ledger.Config{QuietAfter: c.QuietAfter, Clock: r.clock, Observe: r.observe}, r.store, set)
	return r, err
}

func (r *replay) observe(a ledger.Applied) {
	r.due = append(r.due, a.Deliveries...)
	r.ended = append(r.ended, a.Resolved...)
}

// step is one moment of the recording: incidents that went quiet until then end first.
func (r *replay) step(now time.Time, signals []incident.Signal) error {
	r.clock.SetTime(now)
	if at, any := r.ledger.NextQuiet(r.base); any && !at.After(now) {
		if err := r.ledger.EndQuiet(r.ctx, r.base); err != nil {
			return err
		}
	}
	if len(signals) > 0 {
		if err := r.ledger.Apply(r.ctx, signals); err != nil {
			return err
		}
	}
	return r.answer(now)
}

// answer plays the agents: each finishes at once, and what recovers then counts as its work.
func (r *replay) answer(now time.Time) error {
	for _, d := range r.due {
		d.State, d.CalledAt, d.EndedAt = delivery.Succeeded, now, now
	}
	changed := r.due
	var recovered []string
	for _, inc := range r.ended {
		if inc.Resolution == incident.Recovered {
			recovered = append(recovered, inc.ID)
		}
	}
	r.due, r.ended = nil, nil
	if len(recovered) > 0 {
		waiting, err := r.store.DeliveriesOfIncidents(r.ctx, recovered)
		if err != nil {
			return err
		}
		for _, d := range waiting {
			d.Outcome, d.OutcomeAt = delivery.OutcomeRecovered, now
			changed = append(changed, d)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return r.store.Write(r.ctx, func(tx *store.Tx) error {
		return tx.Save(r.ctx, &store.Changes{Deliveries: changed})
	})
}

// maxStory bounds the story of one recording.
const maxStory = 1_000_000

func (r *replay) story(ctx context.Context, recording string) (replayed, error) {
	incidents, err := r.store.AllIncidents(ctx, maxStory)
	if err != nil {
		return replayed{}, err
	}
	deliveries, err := r.store.AllDeliveries(ctx, maxStory)
	if err != nil {
		return replayed{}, err
	}
	byID := map[string]*incident.Incident{}
	for _, inc := range incidents {
		byID[inc.ID] = inc
	}
	var story replayed
	for _, inc := range incidents {
		story.Incidents = append(story.Incidents, r.incident(recording, inc, byID[inc.CausedBy]))
	}
	for _, d := range deliveries {
		events, err := r.store.DeliveryEvents(ctx, d.ID)
		if err != nil {
			return replayed{}, err
		}
		story.Deliveries = append(story.Deliveries, replayedDelivery{
			Recording: recording, Hook: d.Hook.String(), EventType: string(d.EventType), Group: d.Group,
			Agent: d.Agent.String(), At: r.seconds(d.CreatedAt), Prompt: d.Prompt, Events: events,
		})
	}
	return story, nil
}

func (r *replay) incident(recording string, inc, cause *incident.Incident) replayedIncident {
	told := replayedIncident{
		Recording: recording, EventType: string(inc.Type), Namespace: inc.Resource.Namespace, ResourceName: inc.Resource.Name,
		Container: inc.Container, Workload: inc.Workload.String(),
		FirstSeen: r.seconds(inc.FirstSeen), LastSeen: r.seconds(inc.LastSeen),
		Events: inc.Events, Duplicates: inc.Duplicates, reason: inc.Reason, message: inc.Message,
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

// seconds is a time as seconds of the recording, to the millisecond.
func (r *replay) seconds(t time.Time) float64 {
	return math.Round(t.Sub(r.base).Seconds()*1000) / 1000
}
