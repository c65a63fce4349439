package api

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kagent-dev/khook/api/v1alpha2"
)

// Hook is a Hook resource with what khook knows of it.
type Hook struct {
	Namespace  string    `json:"namespace" example:"shop"`
	Name       string    `json:"name" example:"memory"`
	UID        string    `json:"uid"`
	Generation int64     `json:"generation"`
	CreatedAt  time.Time `json:"createdAt"`

	Ready     string   `json:"ready" enum:"True,False,Unknown" doc:"Status of the condition Ready."`
	Reason    string   `json:"reason,omitempty" doc:"Reason of the condition Ready: HookConfigured, InvalidConfiguration or KagentAPIError."`
	Message   string   `json:"message,omitempty" doc:"Message of the condition Ready: what to change."`
	Suspended bool     `json:"suspended" doc:"By its spec."`
	Paused    *Pause   `json:"paused,omitempty" doc:"The pause that stops its calls, if a person has made one."`
	Events    []string `json:"eventTypes" nullable:"false" doc:"The event types that it names."`
	Agents    []string `json:"agents" nullable:"false" doc:"The agents that it may call, as namespace/name."`

	Spec       HookSpec       `json:"spec"`
	Status     HookStatus     `json:"status"`
	Statistics HookStatistics `json:"statistics"`
}

// HookStatistics is how a Hook did in the last 24 hours.
type HookStatistics struct {
	TimeRange       string    `json:"timeRange" example:"24h"`
	ActiveIncidents int       `json:"activeIncidents" doc:"Incidents that concern the Hook and are open now."`
	LastFired       time.Time `json:"lastFired,omitzero" required:"false"`
	Events          int64     `json:"events" doc:"Events about which the Hook decided."`
	Deliveries      int64     `json:"deliveries" doc:"Deliveries that were scheduled."`
	CallsLastHour   int64     `json:"callsLastHour" doc:"Calls within the last hour, which count against spec.maxCallsPerHour."`
	Succeeded       int64     `json:"succeeded"`
	Failed          int64     `json:"failed" doc:"Ended as failed, rejected, canceled or expired after a call."`
	Skipped         int64     `json:"skipped" doc:"Ended without a call, such as those of incidents that had recovered before."`
	Recovered       int64     `json:"recovered" doc:"Deliveries after which the cluster recovered."`
	Tokens          int64     `json:"tokens" doc:"Tokens of the language model in the calls that were made, as far as the agents reported them."`
}

// HookSpec is the spec of a Hook, as the CRD describes it.
type HookSpec struct{ v1alpha2.HookSpec }

// Schema implements huma.SchemaProvider.
func (HookSpec) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Description: "The spec of the resource, as the CRD describes it.", AdditionalProperties: true}
}

// HookStatus is the status of a Hook, as the CRD describes it.
type HookStatus struct{ v1alpha2.HookStatus }

// Schema implements huma.SchemaProvider.
func (HookStatus) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Description: "The status of the resource, as the CRD describes it, with its conditions and active events.", AdditionalProperties: true}
}
