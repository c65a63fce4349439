package status

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// The reasons of the Kubernetes Events on a Hook, as khook users know them.
const (
	ReasonEventFiring          = "EventFiring"
	ReasonAgentCallSuccess     = "AgentCallSuccess"
	ReasonAgentCallFailure     = "AgentCallFailure"
	ReasonEventResolved        = "EventResolved"
	ReasonEventProcessingError = "EventProcessingError"
	ReasonAgentAsks            = "AgentAsks"  // an agent waits for a person, once for each question
	ReasonOverBudget           = "OverBudget" // calls are held back because a budget is used up
	ReasonLoopGuard            = "LoopGuard"  // calls pause because a failure comes back after each of them
	ReasonPaused               = "Paused"     // a person has paused the calls
	ReasonResumed              = "Resumed"    // they go on
	ReasonStalled              = "Stalled"    // nothing new is seen of an agent's task
)

// Reasons are those of all Kubernetes Events that khook writes.
func Reasons() []string {
	return []string{
		ReasonEventFiring, ReasonAgentCallSuccess, ReasonAgentCallFailure, ReasonEventResolved, ReasonEventProcessingError,
		ReasonAgentAsks, ReasonOverBudget, ReasonLoopGuard, ReasonPaused, ReasonResumed, ReasonStalled,
	}
}

// Limits of the Kubernetes Events, so that a storm in the cluster is no storm on the API server.
const (
	eventsPerHook  = rate.Limit(1.0 / 10) // after a burst
	eventBurst     = 10
	eventsInAll    = rate.Limit(5)
	eventBurstAll  = 50
	maxEventNote   = 512
	maxHookLimiter = 10_000 // hooks with a limiter of their own
	eventQueue     = 256    // Events that wait to be written
	maxNamePrefix  = 200    // bytes of the Hook's name in an Event's
)

// EventRecorder tells a Hook's story as Kubernetes Events on it. It writes them itself rather than with
// client-go's recorder, which joins all Events of one reason and keeps the first one's words. It is
// safe for concurrent use and never blocks.
type EventRecorder struct {
	client  kubernetes.Interface
	dropped func(reason string)
	log     logr.Logger
	all     *rate.Limiter
	queue   chan *eventsv1.Event

	mu   sync.Mutex
	hook map[delivery.HookRef]*rate.Limiter
}

// NewEventRecorder returns a teller; Run writes what it is told. dropped is called for each Event that a
// limit holds back.
func NewEventRecorder(client kubernetes.Interface, dropped func(reason string), log logr.Logger) *EventRecorder {
	return &EventRecorder{
		client: client, dropped: dropped, log: log,
		all:   rate.NewLimiter(eventsInAll, eventBurstAll),
		queue: make(chan *eventsv1.Event, eventQueue),
		hook:  map[delivery.HookRef]*rate.Limiter{},
	}
}

// warningReasons are those of Warnings; rareReasons come with a change of a condition only, and are
// told whatever else there is to tell.
var (
	warningReasons = []string{ReasonAgentCallFailure, ReasonEventProcessingError, ReasonOverBudget, ReasonLoopGuard}
	rareReasons    = []string{ReasonOverBudget, ReasonLoopGuard, ReasonPaused, ReasonResumed, ReasonStalled}
)

// Record queues one Event on the Hook.
func (t *EventRecorder) Record(ref delivery.HookRef, uid, reason, note string) {
	if !slices.Contains(rareReasons, reason) && (!t.limiter(ref).Allow() || !t.all.Allow()) {
		t.dropped(reason)
		return
	}
	kind := corev1.EventTypeNormal
	if slices.Contains(warningReasons, reason) {
		kind = corev1.EventTypeWarning
	}
	ev := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, GenerateName: ref.Name[:min(len(ref.Name), maxNamePrefix)] + "-"},
		EventTime:  metav1.NowMicro(), Type: kind, Reason: reason, Action: actions[reason],
		Note: incident.Clean(note, maxEventNote),
		Regarding: corev1.ObjectReference{
			APIVersion: v1alpha2.SchemeGroupVersion.String(), Kind: "Hook", Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(uid),
		},
		ReportingController: "kagent.dev/khook", ReportingInstance: instance(),
	}
	select {
	case t.queue <- ev:
	default:
		t.dropped(reason)
	}
}

// Run writes the Events until ctx ends. What can't be written is logged and left: the history has it.
func (t *EventRecorder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-t.queue:
			if err := t.write(ctx, ev); err != nil && ctx.Err() == nil {
				t.dropped(ev.Reason)
				t.log.Info("cannot write an Event on the hook", "hook", ev.Namespace+"/"+ev.Regarding.Name, "reason", ev.Reason, "error", err.Error())
			}
		}
	}
}

func (t *EventRecorder) write(ctx context.Context, ev *eventsv1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := t.client.EventsV1().Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
	return err
}

// instance names this process in its Events.
var instance = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "khook"
	}
	return incident.Truncate("khook-"+host, 128)
})

// actions are what khook did when it told the reason.
var actions = map[string]string{
	ReasonEventFiring:          "CallAgent",
	ReasonAgentCallSuccess:     "CallAgent",
	ReasonAgentCallFailure:     "CallAgent",
	ReasonEventResolved:        "ResolveEvent",
	ReasonEventProcessingError: "ProcessEvent",
	ReasonAgentAsks:            "AskPerson",
	ReasonOverBudget:           "HoldCallsBack",
	ReasonLoopGuard:            "HoldCallsBack",
	ReasonPaused:               "HoldCallsBack",
	ReasonResumed:              "LetCallsThrough",
	ReasonStalled:              "FollowTask",
}

func (t *EventRecorder) limiter(ref delivery.HookRef) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.hook[ref]
	if l == nil {
		if len(t.hook) >= maxHookLimiter {
			clear(t.hook)
		}
		l = rate.NewLimiter(eventsPerHook, eventBurst)
		t.hook[ref] = l
	}
	return l
}
