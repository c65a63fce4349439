package api

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Why says why a Hook called its agents about one failure, or did not.
type Why struct {
	Hook         Name        `json:"hook"`
	IncidentID   string      `json:"incidentId,omitempty" doc:"The incident that the answers are about; absent if khook recorded none."`
	EventID      int64       `json:"eventId,omitempty" doc:"The event that the recorded answers are about: the one that was asked for, or the newest of the incident."`
	EventType    EventType   `json:"eventType,omitempty"`
	ResourceName string      `json:"resourceName,omitempty" example:"cart-7d4b9c-x2x9k"`
	Fits         bool        `json:"fits" doc:"A configuration of the Hook is about the failure, or was. Otherwise the one answer is about the configuration that came nearest."`
	Answers      []WhyAnswer `json:"answers" nullable:"false" doc:"First what was decided, then what would be decided now; one for each configuration that fits."`
}

// WhyAnswer is the way of a failure to the agent of one configuration, as a checklist.
type WhyAnswer struct {
	Basis       string               `json:"basis" enum:"recorded,now" doc:"recorded: it is read from the decision about the event, whatever the Hook is like today. now: what would be decided if the failure were seen to go on now, by the Hook as it is."`
	Config      string               `json:"config,omitempty" doc:"The Hook's configuration: its name, or what stands for it."`
	Disposition delivery.Disposition `json:"disposition,omitempty" enum:"delivered,duplicate,grouped,explained,over-budget,loop-guard,recovered-before,suspended,paused,invalid" doc:"Absent if the configuration is not about the failure, or nothing would be decided about it any more."`
	DeliveryID  string               `json:"deliveryId,omitempty" doc:"The delivery that was made, or that stands for the failure."`
	DecidedAt   time.Time            `json:"decidedAt,omitzero" required:"false" doc:"When it was decided, of what is recorded."`
	Steps       []WhyStep            `json:"steps" nullable:"false" doc:"In the order in which they are taken, up to the first no, or to the call."`
}

// WhyStep is a question on the way, and its answer.
type WhyStep struct {
	Step delivery.StepName `json:"step" enum:"seen,type,namespace,valid,selector,match,open,suspended,cause,window,paused,loop-guard,budget,call" doc:"seen: khook recorded it. type, namespace, selector, match: the configuration is about it. valid: the configuration can be used. open: it has not ended. suspended: the Hook is not. cause: no cause or effect of it is called for instead. window: no recent call stands for it. paused: calls are not. loop-guard, budget: they let the call through. call: the agent is called."`
	OK   bool              `json:"ok" doc:"false for the step that kept the agent from being called; no other follows it."`
	Text string            `json:"text" doc:"A sentence for people, with the values that the answer goes by; those of the cluster are untrusted."`
}

// WhyHooks says it of the Hooks of a namespace.
type WhyHooks struct {
	Hooks     []Why `json:"hooks" nullable:"false" doc:"Those that fit first, then those that came nearest; by name where that is the same."`
	Truncated bool  `json:"truncated,omitempty" doc:"There are more Hooks in the namespace than were asked: ask for one by its name."`
}

// WhyAnswerOf is the JSON of a checklist; seen goes before its steps.
func WhyAnswerOf(c delivery.Checklist, seen WhyStep) WhyAnswer {
	a := WhyAnswer{
		Basis: "now", Config: c.Config, Disposition: c.Disposition, DeliveryID: c.DeliveryID, DecidedAt: c.DecidedAt, Steps: []WhyStep{seen},
	}
	if !c.DecidedAt.IsZero() {
		a.Basis = "recorded"
	}
	for _, s := range c.Steps {
		a.Steps = append(a.Steps, WhyStep{Step: s.Name, OK: s.OK, Text: s.Text})
	}
	return a
}
