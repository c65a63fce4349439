package status

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kagent-dev/khook/api/v1alpha2"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

const (
	lookAtHolds = time.Minute // how often it is looked whether calls are still held back
	maxHolds    = 1000        // groups that are looked at
	maxStalled  = 2           // deliveries that are: one is shown, and whether there are more
	maxAsking   = 2           // deliveries that wait for a person: one is shown, and whether there are more
)

// holds computes the conditions OverBudget and LoopGuard.
func (w *Writer) holds(ctx context.Context, ref delivery.HookRef) ([]metav1.Condition, error) {
	// A hold ends when the ledger lets the call through, which is later than its time.
	groups, err := w.cfg.History.HeldGroups(ctx, ref, w.cfg.Clock.Now().Add(-delivery.HeldFor), maxHolds)
	if err != nil {
		return nil, fmt.Errorf("read what is held back of hook %s: %w", ref, err)
	}
	return []metav1.Condition{overBudget(heldBy(groups, delivery.OverBudget)), loopGuard(heldBy(groups, delivery.LoopGuard))}, nil
}

func heldBy(groups []*delivery.GroupState, d delivery.Disposition) []*delivery.GroupState {
	var held []*delivery.GroupState
	for _, g := range groups {
		if g.Hold == d {
			held = append(held, g)
		}
	}
	return held
}

func overBudget(held []*delivery.GroupState) metav1.Condition {
	c := metav1.Condition{Type: v1alpha2.ConditionOverBudget, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonWithinBudget, Message: "No call is held back"}
	if len(held) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionTrue, v1alpha2.ReasonMaxCallsPerHour
	if strings.HasPrefix(held[0].Why, delivery.TokensBudget) {
		c.Reason = v1alpha2.ReasonMaxTokensPerDay
	}
	c.Message = describe(held, held[0], "The agent is told of them with the next call.")
	return c
}

func loopGuard(held []*delivery.GroupState) metav1.Condition {
	c := metav1.Condition{Type: v1alpha2.ConditionLoopGuard, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonNoLoop, Message: "No failure comes back after each call"}
	if len(held) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionTrue, v1alpha2.ReasonPausing
	shown, what := held[0], ""
	for _, g := range held {
		if g.NeedsPerson {
			c.Reason, shown = v1alpha2.ReasonNeedsPerson, g
			what = "Look at it, then let calls through again: khook deliveries resume, or the annotation " + v1alpha2.AnnotationResumedAt + "."
			break
		}
	}
	c.Message = describe(held, shown, what)
	return c
}

// suspendedBy is what keeps a Hook from calling, in a word; "" for nothing.
func suspendedBy(h *v1alpha2.Hook, paused bool) string {
	switch {
	case paused:
		return v1alpha2.SuspendedByPause
	case h.Spec.Suspend:
		return v1alpha2.SuspendedBySpec
	}
	return ""
}

// pausedCalls computes the condition Paused.
func pausedCalls(p delivery.Pause, paused bool) metav1.Condition {
	if !paused {
		return metav1.Condition{Type: v1alpha2.ConditionPaused, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonResumed, Message: "Calls are not paused"}
	}
	return metav1.Condition{
		Type: v1alpha2.ConditionPaused, Status: metav1.ConditionTrue, Reason: v1alpha2.ReasonPausedByPerson,
		Message: incident.Clean(p.Why(), maxCondition),
	}
}

// stalledTasks says that nothing new is seen of tasks, by the example of one: of one that can't be stopped, if there is one.
func stalledTasks(stalled []*delivery.Delivery) metav1.Condition {
	c := metav1.Condition{Type: v1alpha2.ConditionStalled, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonNoTaskStalled, Message: "No agent's task is stalled"}
	if len(stalled) == 0 {
		return c
	}
	c.Status, c.Reason = metav1.ConditionTrue, v1alpha2.ReasonTaskSilent
	shown, what := stalled[0], "Its agent is asked to stop."
	if shown.Stop != delivery.StopAsking && shown.Stop != delivery.StopAsked {
		what = "Look at the agent; khook deliveries cancel asks it to stop."
	}
	for _, d := range stalled {
		if d.Stop == delivery.StopInVain {
			c.Reason, shown, what = v1alpha2.ReasonCantBeStopped, d, "It was asked to stop, and did not: look at the agent."
			break
		}
	}
	text := fmt.Sprintf("%s (%s): nothing new is seen of the task of agent %s since %s, see khook deliveries show %s. %s",
		shown.Group, shown.Config, shown.Agent, shown.StalledSince.UTC().Format(time.RFC3339), shown.ID, what)
	if len(stalled) > 1 {
		text += " More tasks are stalled as well."
	}
	c.Message = incident.Clean(text, maxCondition)
	return c
}

// agentAsks says that an agent waits for a person, since when, and how it is answered; by the example of the oldest one. What it asks is
// for those who may read texts, and is not said.
func agentAsks(asking []*delivery.Delivery) metav1.Condition {
	c := metav1.Condition{Type: v1alpha2.ConditionAgentAsks, Status: metav1.ConditionFalse, Reason: v1alpha2.ReasonNobodyAsks, Message: "No agent waits for a person"}
	if len(asking) == 0 {
		return c
	}
	d := asking[0]
	c.Status, c.Reason = metav1.ConditionTrue, v1alpha2.ReasonQuestionOpen
	what := "an answer"
	if d.NeedsApproval {
		c.Reason, what = v1alpha2.ReasonApprovalOpen, "an approval"
	}
	since := ""
	if !d.HeardAt.IsZero() {
		since = " since " + d.HeardAt.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("%s (%s): agent %s waits for %s%s. Read its question: khook deliveries show %s; khook inbox has the command that answers it.", d.Group, d.Config, d.Agent, what, since, d.ID)
	if len(asking) > 1 {
		text += " More agents wait as well."
	}
	c.Message = incident.Clean(text, maxCondition)
	return c
}

// describe says what is held back, by the example of one group. Its numbers are left out where they
// would change with each event.
func describe(held []*delivery.GroupState, shown *delivery.GroupState, what string) string {
	text := fmt.Sprintf("%s (%s): %s.", shown.Group, shown.Config, shown.Why)
	if n := len(held) - 1; n > 0 {
		text += " More groups are held back as well."
	}
	if what != "" {
		text += " " + what
	}
	return incident.Clean(text, maxCondition)
}

func earlier(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
