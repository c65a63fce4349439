package status

import (
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/incident"
)

// showCostly is how long the condition MatchTooCostly stays True after the newest overrun.
const showCostly = 10 * time.Minute

// overruns are the newest overruns of Hooks. They live as long as the leadership: the next overrun
// tells a new leader.
type overruns struct {
	mu     sync.Mutex
	newest map[delivery.HookRef]overrunAt
}

type overrunAt struct {
	hook.Overrun
	at time.Time
}

func (o *overruns) note(all []hook.Overrun, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.newest == nil {
		o.newest = map[delivery.HookRef]overrunAt{}
	}
	for _, over := range all {
		o.newest[over.Hook] = overrunAt{over, now}
	}
}

// of returns the Hook's newest overrun that is not too old to be told.
func (o *overruns) of(ref delivery.HookRef, now time.Time) (hook.Overrun, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	over, ok := o.newest[ref]
	if ok && now.Sub(over.at) >= showCostly {
		delete(o.newest, ref)
		return hook.Overrun{}, false
	}
	return over.Overrun, ok
}

func (o *overruns) forget(ref delivery.HookRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.newest, ref)
}

// MatchTooCostly notes that Hooks were over the budget of their match expressions.
func (w *Writer) MatchTooCostly(all []hook.Overrun) {
	if len(all) == 0 {
		return
	}
	w.overruns.note(all, w.cfg.Clock.Now())
	for _, over := range all {
		w.Touch(over.Hook)
	}
}

// matchTooCostly computes the condition MatchTooCostly.
func (w *Writer) matchTooCostly(ref delivery.HookRef) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha2.ConditionMatchTooCostly, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonWithinMatchBudget,
		Message: "All match expressions could be evaluated",
	}
	if over, ok := w.overruns.of(ref, w.cfg.Clock.Now()); ok {
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha2.ReasonOverMatchBudget
		c.Message = incident.Clean(fmt.Sprintf("%s: %s: events could not be matched, have the disposition invalid, and were not called for. "+
			"Compare with ==, or test for a short text, rather than go through long ones or nest all() and exists()", over.Config, over.Why), maxCondition)
	}
	return c
}
