package api

import "time"

// IncidentGroups are the open incidents, by workload and type.
type IncidentGroups struct {
	Items     []IncidentGroup `json:"items" nullable:"false" doc:"What was seen last comes first."`
	Incidents int64           `json:"incidents" doc:"How many open incidents were looked at."`
	Truncated bool            `json:"truncated,omitempty" doc:"There is more: name a namespace, or list the incidents."`
}

// IncidentGroup are the open incidents of one type of a workload.
type IncidentGroup struct {
	Cluster   string    `json:"cluster,omitempty" doc:"Name of the cluster, if khook was given one."`
	Namespace string    `json:"namespace" example:"shop"`
	Workload  Workload  `json:"workload"`
	EventType EventType `json:"eventType"`
	Incidents int64     `json:"incidents" doc:"How many are open."`
	Events    int64     `json:"events" doc:"All their events, the duplicates included."`
	Caused    int64     `json:"caused" doc:"How many of the incidents another one explains."`
	CausedBy  string    `json:"causedBy,omitempty" doc:"ID of an incident that explains one of them."`
	FirstSeen time.Time `json:"firstSeen" doc:"Of the oldest one."`
	LastSeen  time.Time `json:"lastSeen" doc:"Of the one that was seen last."`
}

// EarlierIncidents are what happened to a workload before.
type EarlierIncidents struct {
	Items     []EarlierIncident `json:"items" nullable:"false" doc:"The newest first."`
	Truncated bool              `json:"truncated,omitempty" doc:"There are older ones: list the incidents of the workload."`
}

// EarlierIncident is an incident that came before another one.
type EarlierIncident struct {
	Incident
	Deliveries []Delivery `json:"deliveries" nullable:"false" doc:"The calls that cover it, without their texts, with their outcome."`
}
