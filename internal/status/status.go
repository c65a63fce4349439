package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// Bounds of what a Hook's status shows.
const (
	maxActiveEvents = 100
	showResolved    = 10 * time.Minute // how long a resolved event stays in activeEvents
	maxCondition    = 1024             // bytes of a condition's message
)

// History is what the status needs to know of the past.
type History interface {
	// HookIncidents returns the hook's open incidents and those resolved after a time, the
	// newest first.
	HookIncidents(ctx context.Context, hook delivery.HookRef, resolvedAfter time.Time, limit int) ([]*incident.Incident, error)
	// HookSummary returns how many of the hook's incidents are open, and when it last made a
	// delivery due (zero if never).
	HookSummary(ctx context.Context, hook delivery.HookRef) (open int, lastFired time.Time, err error)
	// HeldGroups returns the groups of the hook whose calls are held back until after a time.
	HeldGroups(ctx context.Context, hook delivery.HookRef, after time.Time, limit int) ([]*delivery.GroupState, error)
	// StalledDeliveries returns the hook's deliveries whose task is stalled: those that can't be stopped first, then the one that is stalled
	// for longest.
	StalledDeliveries(ctx context.Context, hook delivery.HookRef, limit int) ([]*delivery.Delivery, error)
	// AskingDeliveries returns the hook's deliveries whose agent waits for a person, the oldest first.
	AskingDeliveries(ctx context.Context, hook delivery.HookRef, limit int) ([]*delivery.Delivery, error)
}

// Config holds the settings of a Writer.
type Config struct {
	Client  client.Client // its cache serves Hooks
	Set     *hook.Set
	History History
	// Every is the least time between two writes for one Hook; 3 s if zero.
	Every time.Duration
	// Changed is told of a condition that came to another status or reason, once that is written; may
	// be nil. It must not block.
	Changed func(hook delivery.HookRef, uid string, c metav1.Condition)
	Clock   clock.WithTicker
	Log     logr.Logger
}

// Writer keeps the status of Hooks true. It writes only what changed, and not more than
// once in a few seconds for each Hook.
//
// It is level-triggered: Touch says no more than that something may have changed, and what is written is computed from the
// history as it is then. So a Touch that is lost in a crash, or comes twice, does no harm; and a status that could not be written
// is tried again, for ever, with what is true by then.
type Writer struct {
	cfg   Config
	queue workqueue.TypedDelayingInterface[delivery.HookRef]

	mu     sync.Mutex
	wrote  map[delivery.HookRef]time.Time
	agents map[delivery.AgentRef]string // why an agent can't be called

	overruns overruns
}

// NewWriter returns a writer; Run starts it.
func NewWriter(cfg Config) *Writer {
	if cfg.Every == 0 {
		cfg.Every = 3 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Writer{
		cfg:    cfg,
		queue:  workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[delivery.HookRef]{Clock: cfg.Clock}),
		wrote:  map[delivery.HookRef]time.Time{},
		agents: map[delivery.AgentRef]string{},
	}
}

// Touch says that something about the Hook may have changed.
func (w *Writer) Touch(hooks ...delivery.HookRef) {
	for _, h := range hooks {
		w.queue.Add(h)
	}
}

// AgentHealth notes whether an agent can be called; err is nil if it can.
func (w *Writer) AgentHealth(agent delivery.AgentRef, err error) {
	why := ""
	if err != nil {
		why = incident.Clean(err.Error(), maxCondition/2)
	}
	w.mu.Lock()
	changed := w.agents[agent] != why
	if why == "" {
		delete(w.agents, agent)
	} else {
		w.agents[agent] = why
	}
	w.mu.Unlock()
	if changed {
		w.Touch(w.cfg.Set.HooksOf(agent)...)
	}
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, w.queue.ShutDown)
	defer stop()
	for {
		ref, shutdown := w.queue.Get()
		if shutdown {
			return nil
		}
		if again := w.step(ctx, ref); again > 0 {
			w.queue.AddAfter(ref, again)
		}
		w.queue.Done(ref)
	}
}

// step writes the status of one Hook if that is due, and says when to look again.
func (w *Writer) step(ctx context.Context, ref delivery.HookRef) time.Duration {
	w.mu.Lock()
	since := w.cfg.Clock.Since(w.wrote[ref])
	w.mu.Unlock()
	if since < w.cfg.Every {
		return w.cfg.Every - since
	}
	again, err := w.write(ctx, ref)
	if err != nil && ctx.Err() == nil {
		if !apierrors.IsConflict(err) {
			w.cfg.Log.Error(err, "cannot write the status of the hook, will retry", "hook", ref)
		}
		return w.cfg.Every
	}
	return again
}

// write computes the status and writes it, if it differs from what is there. The patch has the version that was read: what
// somebody else has written since, such as a new leader, is never overwritten by what was computed before it.
func (w *Writer) write(ctx context.Context, ref delivery.HookRef) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var h v1alpha2.Hook
	err := w.cfg.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &h)
	if apierrors.IsNotFound(err) {
		w.forget(ref)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	status, again, err := w.status(ctx, ref, &h)
	if err != nil {
		return 0, err
	}
	if same(&h.Status, status) {
		return again, nil
	}
	status.LastUpdated = metav1.NewTime(w.cfg.Clock.Now())
	was := h.DeepCopy()
	patch := client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})
	h.Status = *status
	if err := w.cfg.Client.Status().Patch(ctx, &h, patch); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	w.tellChanges(ref, string(h.UID), was.Status.Conditions, status.Conditions)
	w.mu.Lock()
	w.wrote[ref] = w.cfg.Clock.Now()
	w.mu.Unlock()
	return again, nil
}

func (w *Writer) forget(ref delivery.HookRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.wrote, ref)
	w.overruns.forget(ref)
}

// same says whether two statuses differ in nothing but the time of writing.
func same(a, b *v1alpha2.HookStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	x.LastUpdated, y.LastUpdated = metav1.Time{}, metav1.Time{}
	return equality.Semantic.DeepEqual(x, y)
}

// status computes what the Hook's status should be, and in how long it changes by itself.
func (w *Writer) status(ctx context.Context, ref delivery.HookRef, h *v1alpha2.Hook) (*v1alpha2.HookStatus, time.Duration, error) {
	now := w.cfg.Clock.Now()
	incidents, err := w.cfg.History.HookIncidents(ctx, ref, now.Add(-showResolved), maxActiveEvents)
	if err != nil {
		return nil, 0, fmt.Errorf("read the incidents of hook %s: %w", ref, err)
	}
	open, fired, err := w.cfg.History.HookSummary(ctx, ref)
	if err != nil {
		return nil, 0, fmt.Errorf("read the summary of hook %s: %w", ref, err)
	}
	status := h.Status.DeepCopy()
	status.Active = int32(min(open, 1<<30))
	status.ActiveEvents = activeEvents(incidents, now)
	status.ObservedGeneration = h.Generation
	if !fired.IsZero() {
		t := metav1.NewTime(fired.Truncate(time.Second))
		status.LastFired = &t
	}
	again := nextChange(incidents, now)
	holds, err := w.holds(ctx, ref)
	if err != nil {
		return nil, 0, err
	}
	stalled, err := w.cfg.History.StalledDeliveries(ctx, ref, maxStalled)
	if err != nil {
		return nil, 0, fmt.Errorf("read the stalled deliveries of hook %s: %w", ref, err)
	}
	asking, err := w.cfg.History.AskingDeliveries(ctx, ref, maxAsking)
	if err != nil {
		return nil, 0, fmt.Errorf("read the deliveries of hook %s that wait for a person: %w", ref, err)
	}
	pause, paused := w.cfg.Set.Paused(ref, now)
	status.Suspended = suspendedBy(h, paused)
	if paused && !pause.Ends.IsZero() {
		again = earlier(again, pause.Ends.Sub(now)+time.Second)
	}
	for _, c := range append(holds, pausedCalls(pause, paused), stalledTasks(stalled), agentAsks(asking), w.matchTooCostly(ref), w.ready(ref, h)) {
		if c.Status == metav1.ConditionFalse && c.Type != v1alpha2.ConditionReady && meta.FindStatusCondition(status.Conditions, c.Type) == nil {
			continue // what never was need not be denied
		}
		if c.Status == metav1.ConditionTrue && c.Type != v1alpha2.ConditionReady {
			again = earlier(again, lookAtHolds)
		}
		c.ObservedGeneration = h.Generation
		meta.SetStatusCondition(&status.Conditions, c)
	}
	return status, again, nil
}

// tellChanges passes on the conditions that came to another status or reason.
func (w *Writer) tellChanges(ref delivery.HookRef, uid string, was, now []metav1.Condition) {
	if w.cfg.Changed == nil {
		return
	}
	for _, c := range now {
		if old := meta.FindStatusCondition(was, c.Type); old == nil || old.Status != c.Status || old.Reason != c.Reason {
			w.cfg.Changed(ref, uid, c)
		}
	}
}

// nextChange is in how long the first resolved incident leaves the status; 0 if there is none.
func nextChange(incidents []*incident.Incident, now time.Time) time.Duration {
	var next time.Duration
	for _, inc := range incidents {
		if inc.Open() {
			continue
		}
		if left := inc.ResolvedAt.Add(showResolved).Sub(now) + time.Second; next == 0 || left < next {
			next = max(left, time.Second)
		}
	}
	return next
}

// activeEvents are what a status says of incidents, the newest first. There is room for the first of them only.
func activeEvents(incidents []*incident.Incident, now time.Time) []v1alpha2.ActiveEventStatus {
	shown := slices.Clone(incidents[:min(len(incidents), maxActiveEvents)])
	slices.SortStableFunc(shown, func(a, b *incident.Incident) int { return b.LastSeen.Compare(a.LastSeen) })
	var active []v1alpha2.ActiveEventStatus
	for _, inc := range shown {
		status := incident.Firing
		if !inc.Open() {
			status = incident.Resolved
		}
		active = append(active, v1alpha2.ActiveEventStatus{
			EventType: string(inc.Type), ResourceName: inc.Resource.Name, Container: inc.Container,
			FirstSeen: shownTime(inc.FirstSeen, inc.LastSeen, inc.ObservedAt, now),
			LastSeen:  shownTime(inc.LastSeen, inc.FirstSeen, inc.ObservedAt, now),
			Status:    string(status),
		})
	}
	return active
}

// shownTime is the first of some times that a status can have. The API server refuses all of a status for one time that is
// zero, and JSON has none after the year 9999.
func shownTime(times ...time.Time) metav1.Time {
	for _, t := range times {
		if t.Unix() > 0 && t.Year() <= 9999 {
			return metav1.NewTime(t.Truncate(time.Second))
		}
	}
	return metav1.NewTime(time.Unix(1, 0))
}

// ready computes the condition Ready with the contract's three reasons.
func (w *Writer) ready(ref delivery.HookRef, h *v1alpha2.Hook) metav1.Condition {
	c := metav1.Condition{Type: v1alpha2.ConditionReady, Status: metav1.ConditionFalse}
	if errs := w.cfg.Set.Put(h); len(errs) > 0 {
		c.Reason = v1alpha2.ReasonInvalidConfiguration
		c.Message = incident.Clean(errs.ToAggregate().Error(), maxCondition)
		return c
	}
	if err := w.agentErrors(ref); err != nil {
		c.Reason = v1alpha2.ReasonKagentAPIError
		c.Message = incident.Clean(err.Error(), maxCondition)
		return c
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha2.ReasonHookConfigured, "Watching for "+eventTypeNames(h)
	if h.Spec.Suspend {
		c.Message = "Suspended (spec.suspend): events are recorded, no agent is called"
	}
	if p, paused := w.cfg.Set.Paused(ref, w.cfg.Clock.Now()); paused {
		c.Message = incident.Clean("Paused: events are recorded, no agent is called: "+p.Why(), maxCondition)
	}
	if fields := w.cfg.Set.Policy.StillMarked(h); len(fields) > 0 {
		c.Message = incident.Clean(fmt.Sprintf("%s. %s: %s", c.Message, fields[0], hook.WhyMarked), maxCondition)
	}
	return c
}

func (w *Writer) agentErrors(ref delivery.HookRef) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, a := range w.cfg.Set.Agents(ref) {
		switch why := w.agents[a]; {
		case why == "":
		case strings.Contains(why, a.String()):
			errs = append(errs, errors.New(why))
		default:
			errs = append(errs, fmt.Errorf("agent %s: %s", a, why))
		}
	}
	return errors.Join(errs...)
}

// eventTypeNames lists the event types that the Hook names, each once.
func eventTypeNames(h *v1alpha2.Hook) string {
	var names []string
	seen := map[string]bool{}
	for _, ec := range h.Spec.EventConfigurations {
		if !seen[ec.EventType] {
			seen[ec.EventType] = true
			names = append(names, ec.EventType)
		}
	}
	return strings.Join(names, ", ")
}
