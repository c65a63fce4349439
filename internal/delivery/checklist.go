package delivery

import (
	"fmt"
	"slices"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// StepName is one of the questions between a failure and the call to an agent.
type StepName string

// The steps, in the order in which they are taken.
const (
	StepSeen      StepName = "seen"      // khook recorded it
	StepType      StepName = "type"      // the configuration is about this type of event
	StepNamespace StepName = "namespace" // told only where it is the Hook's fault
	StepValid     StepName = "valid"     // the configuration can be used
	StepSelector  StepName = "selector"
	StepMatch     StepName = "match"
	StepOpen      StepName = "open" // it has not ended; asked only of what would be decided now
	StepSuspended StepName = "suspended"
	StepCause     StepName = "cause" // no cause or effect of it is called for instead
	StepWindow    StepName = "window"
	StepPaused    StepName = "paused"
	StepLoopGuard StepName = "loop-guard"
	StepBudget    StepName = "budget"
	StepCall      StepName = "call"
)

// Steps lists all steps, in their order.
func Steps() []StepName {
	return []StepName{
		StepSeen, StepType, StepNamespace, StepValid, StepSelector, StepMatch, StepOpen,
		StepSuspended, StepCause, StepWindow, StepPaused, StepLoopGuard, StepBudget, StepCall,
	}
}

// CheckStep is the answer to such a question.
type CheckStep struct {
	Name StepName
	OK   bool
	Text string // a sentence for people, without a full stop; it may quote the cluster
}

// Checklist says how far a failure came on its way to an agent: the steps up to the first no, or up to the call.
type Checklist struct {
	Config      string   // of the Hook
	Agent       AgentRef // that it calls; empty in what was recorded
	Disposition Disposition
	DeliveryID  string    // the one that was made, or that stands for it
	DecidedAt   time.Time // of a recorded decision; zero for what would be decided now
	Steps       []CheckStep
}

// First is the first step that was a no; false if there is none.
func (c *Checklist) First() (CheckStep, bool) {
	i := slices.IndexFunc(c.Steps, func(s CheckStep) bool { return !s.OK })
	if i < 0 {
		return CheckStep{}, false
	}
	return c.Steps[i], true
}

// StoppedAt is the step at which a disposition ends the way to the agent. Where the call itself was the end of it, that is
// the step of Delivered.
func StoppedAt(d Disposition) StepName {
	switch d {
	case Invalid:
		return StepValid
	case Suspended:
		return StepSuspended
	case Explained:
		return StepCause
	case Duplicate, Grouped:
		return StepWindow
	case Paused:
		return StepPaused
	case LoopGuard:
		return StepLoopGuard
	case OverBudget:
		return StepBudget
	case RecoveredBefore, Delivered:
	}
	return StepCall
}

// recordedSteps are those that a recorded decision tells of.
var recordedSteps = []StepName{StepType, StepValid, StepSelector, StepMatch, StepSuspended, StepCause, StepWindow, StepPaused, StepLoopGuard, StepBudget, StepCall}

// okTexts is what a decision says of the steps before its disposition.
var okTexts = map[StepName]string{ //nolint:gosec // sentences, and no credentials
	StepValid: "the configuration could be used", StepSelector: "the Pod's labels fitted the selector", StepMatch: "the match expression was true, or there was none",
	StepSuspended: "the Hook was not suspended", StepCause: "no cause or effect of it was called for instead",
	StepWindow: "no call stood for it", StepPaused: "calls were not paused", StepLoopGuard: "the loop guard had no objection", StepBudget: "there was budget left",
}

// Checklist is what was decided, as the history has it: why is read off the disposition, whatever the Hook is like today.
func (d *Decision) Checklist() Checklist {
	c := Checklist{Config: d.Config, Disposition: d.Disposition, DeliveryID: d.DeliveryID, DecidedAt: d.At}
	end := StoppedAt(d.Disposition)
	for _, name := range recordedSteps {
		if name == end {
			c.Steps = append(c.Steps, CheckStep{Name: name, OK: d.Disposition == Delivered, Text: d.ended()})
			break
		}
		text := okTexts[name]
		if name == StepType {
			text = fmt.Sprintf("the configuration %s was about %s", d.Config, d.EventType)
		}
		c.Steps = append(c.Steps, CheckStep{Name: name, OK: true, Text: text})
	}
	return c
}

// ended says why the way ended.
func (d *Decision) ended() string {
	by := ""
	if d.DeliveryID != "" {
		by = " (delivery " + d.DeliveryID + ")"
	}
	switch d.Disposition {
	case Delivered:
		return "a call to its agent was scheduled" + by
	case Duplicate:
		return "its agent had been called for this incident within the window" + by
	case Grouped:
		return "its agent had been called for another incident of the group within the window" + by
	case Explained:
		return "the Hook called for its cause, or for an effect of it" + by
	case OverBudget:
		return "a limit of calls or tokens was used up: the agent is told with the next call"
	case LoopGuard:
		return "its agent had been called again and again: it is told with the next call"
	case RecoveredBefore:
		return "everything had ended before its agent could be called" + by
	case Suspended:
		return "the Hook was suspended" + by
	case Paused:
		return "calls were paused by a person: once they go on, its agent is called if it still fails"
	case Invalid:
		return "the configuration could not be used, or its match expression cost too much: the Hook's conditions Ready and MatchTooCostly say why" + by
	}
	return incident.Clean(string(d.Disposition), maxDisposition) + by
}

// maxDisposition bounds a disposition that this khook does not know, in bytes.
const maxDisposition = 64
