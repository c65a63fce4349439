package hook

import (
	"fmt"
	"sync"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/incident"
)

// The reasons of the Kubernetes Events on a Hook, as khook users know them.
const (
	ReasonEventFiring          = "EventFiring"
	ReasonAgentCallSuccess     = "AgentCallSuccess"
	ReasonAgentCallFailure     = "AgentCallFailure"
	ReasonEventResolved        = "EventResolved"
	ReasonEventProcessingError = "EventProcessingError"
)

// Limits of the Kubernetes Events, so that a storm in the cluster is no storm on the API server.
const (
	eventsPerHook  = rate.Limit(1.0 / 10) // after a burst
	eventBurst     = 10
	eventsInAll    = rate.Limit(5)
	eventBurstAll  = 50
	maxEventNote   = 512
	maxHookLimiter = 10_000 // hooks with a limiter of their own
)

// Teller tells a Hook's story as Kubernetes Events on it. It is safe for concurrent use.
type Teller struct {
	recorder events.EventRecorder
	dropped  func(reason string)
	all      *rate.Limiter

	mu   sync.Mutex
	hook map[incident.HookRef]*rate.Limiter
}

// NewTeller returns a teller; dropped is called for each Event that a limit holds back.
func NewTeller(recorder events.EventRecorder, dropped func(reason string)) *Teller {
	return &Teller{
		recorder: recorder, dropped: dropped,
		all:  rate.NewLimiter(eventsInAll, eventBurstAll),
		hook: map[incident.HookRef]*rate.Limiter{},
	}
}

// Tell writes one Event on the Hook.
func (t *Teller) Tell(ref incident.HookRef, uid, reason, note string) {
	if !t.limiter(ref).Allow() || !t.all.Allow() {
		t.dropped(reason)
		return
	}
	kind := corev1.EventTypeNormal
	if reason == ReasonAgentCallFailure || reason == ReasonEventProcessingError {
		kind = corev1.EventTypeWarning
	}
	t.recorder.Eventf(regarding(ref, uid), nil, kind, reason, actions[reason], "%s", incident.Clean(note, maxEventNote))
}

// actions are what khook did when it told the reason.
var actions = map[string]string{
	ReasonEventFiring:          "CallAgent",
	ReasonAgentCallSuccess:     "CallAgent",
	ReasonAgentCallFailure:     "CallAgent",
	ReasonEventResolved:        "ResolveEvent",
	ReasonEventProcessingError: "ProcessEvent",
}

func (t *Teller) limiter(ref incident.HookRef) *rate.Limiter {
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

func regarding(ref incident.HookRef, uid string) runtime.Object {
	return &v1alpha2.Hook{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha2.SchemeGroupVersion.String(), Kind: "Hook"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(uid)},
	}
}

// Subject describes an incident in a few words, such as "oom-kill of cart-1 (container app)".
func Subject(inc *incident.Incident) string {
	if inc.Container == "" {
		return fmt.Sprintf("%s of %s", inc.Type, inc.Resource.Name)
	}
	return fmt.Sprintf("%s of %s (container %s)", inc.Type, inc.Resource.Name, inc.Container)
}
