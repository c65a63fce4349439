package api

import (
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// EventStats is the answer of both event statistics.
type EventStats struct {
	Summary EventSummary                      `json:"summary"`
	ByType  map[incident.EventType]TypeCounts `json:"byType" nullable:"false" doc:"By event type; all types are there."`
}

// EventSummary sums up the events of a range of time.
type EventSummary struct {
	TotalEvents     int64     `json:"totalEvents" doc:"Events that happened in the range, duplicates included."`
	ActiveEvents    int64     `json:"activeEvents" doc:"Events that are firing now, whenever they began."`
	DuplicateEvents int64     `json:"duplicateEvents" doc:"Those of totalEvents that repeated an open incident."`
	ResolvedEvents  int64     `json:"resolvedEvents" doc:"Incidents that ended in the range."`
	TimeRange       string    `json:"timeRange" example:"24h"`
	StartTime       time.Time `json:"startTime" doc:"Beginning of the range, at a whole minute; of a day or more at a whole hour."`
	EndTime         time.Time `json:"endTime" doc:"End of the range: now."`
	Namespace       string    `json:"namespace,omitempty" doc:"The namespace that was asked for; absent for all."`
	Clusters        []string  `json:"clusters,omitempty" nullable:"false" doc:"The clusters that were counted; absent if that is khook's own alone."`
}

// TypeCounts counts the events of one type.
type TypeCounts struct {
	Count      int64   `json:"count" doc:"Events in the range."`
	Percentage float64 `json:"percentage" doc:"Share of all events in the range, to one decimal." minimum:"0" maximum:"100"`
	Active     int64   `json:"active" doc:"Firing now."`
	Duplicates int64   `json:"duplicates"`
	Resolved   int64   `json:"resolved"`
}

// HookMetrics says how a Hook does.
type HookMetrics struct {
	Hook            Name      `json:"hook"`
	Cluster         string    `json:"cluster,omitempty" doc:"Name of the cluster, if khook was given one."`
	TimeRange       string    `json:"timeRange" example:"24h"`
	StartTime       time.Time `json:"startTime"`
	EndTime         time.Time `json:"endTime"`
	ActiveIncidents int       `json:"activeIncidents" doc:"Incidents that concern the Hook and are open now."`
	LastFired       time.Time `json:"lastFired,omitzero" required:"false" doc:"When it last made a delivery due."`

	Events     HookEvents     `json:"events"`
	Deliveries HookDeliveries `json:"deliveries"`
	Calls      Durations      `json:"callSeconds" doc:"From the call to the end of the agent's task, in seconds."`
	Recovery   Durations      `json:"recoverySeconds" doc:"From the moment at which a delivery was scheduled to the recovery, in seconds."`
	Outcomes   HookOutcomes   `json:"outcomes"`
	Tokens     HookTokens     `json:"tokens"`
}

// HookEvents counts what a Hook's configurations decided about events.
type HookEvents struct {
	Total         int64                          `json:"total" doc:"Decisions; an event that two configurations are about counts twice, and so does an event for which a call was held back that was made later."`
	ByDisposition map[delivery.Disposition]int64 `json:"byDisposition" nullable:"false" doc:"All dispositions are there."`
}

// HookDeliveries counts the deliveries of a Hook that ended in the range.
type HookDeliveries struct {
	Created     int64                    `json:"created" doc:"Made due in the range."`
	Ended       int64                    `json:"ended" doc:"Ended in the range."`
	ByState     map[delivery.State]int64 `json:"byState" nullable:"false" doc:"Those that ended in the range, by their final state, and those that are under way now."`
	Skipped     int64                    `json:"skipped" doc:"Ended in the range without a call, such as those of incidents that had recovered before; part of ended."`
	SuccessRate *float64                 `json:"successRate,omitempty" doc:"Percentage of the ended ones with a call that succeeded, to one decimal; absent if none ended so."`
}

// Durations are percentiles.
type Durations struct {
	P50     *float64 `json:"p50,omitempty" doc:"Half took at most so long; absent without samples."`
	P95     *float64 `json:"p95,omitempty"`
	Samples int      `json:"samples" doc:"How many were measured: all of the range, or its newest 10,000."`
}

// HookOutcomes counts what became of the incidents after the agent finished.
type HookOutcomes struct {
	Recovered           int64    `json:"recovered"`
	RecoveredBeforeCall int64    `json:"recoveredBeforeCall" doc:"Of recovered: those that were before the message left; it was not the agent's work."`
	RecoveredDuringTask int64    `json:"recoveredDuringTask" doc:"Of recovered: while the agent worked."`
	RecoveredAfterTask  int64    `json:"recoveredAfterTask" doc:"Of recovered: after the agent had ended."`
	Relapsed            int64    `json:"relapsed" doc:"They recovered, and it failed again within the window."`
	Persisting          int64    `json:"persisting"`
	Unknown             int64    `json:"unknown" doc:"They ended, but nothing healthy was seen."`
	Open                int64    `json:"open" doc:"Calls that were scheduled in the range and whose outcome is still to come; of its newest 10,000."`
	Effectiveness       *float64 `json:"effectiveness,omitempty" doc:"Percentage of recovered among the known outcomes (recovered, relapsed and persisting), to one decimal; absent if none is known. How much of it is the agent's work is said by the phases, and by baseRate."`

	BaseRate *BaseRate `json:"baseRate,omitempty" doc:"How failures end that the Hook is about and that nobody was called for; absent if the Hook was deleted, and if there is no room to find it out."`
}

// BaseRate counts how failures ended for which no Hook made a call: neither for them nor for their cause, nor for their workload within the window.
// What fails again of a workload within the window is one failure with the first.
type BaseRate struct {
	Failures   int64    `json:"failures" doc:"Of the range, watched for as long as those with a call are after it; of each configuration's newest 1,000."`
	Recovered  int64    `json:"recovered"`
	Relapsed   int64    `json:"relapsed"`
	Persisting int64    `json:"persisting"`
	Unknown    int64    `json:"unknown" doc:"Also those whose Pod was deleted: nobody looked whether the workload was healthy."`
	Rate       *float64 `json:"rate,omitempty" doc:"Percentage of recovered among the known ones (recovered, relapsed and persisting), to one decimal; absent if fewer than ten are known."`
}

// HookTokens sums up the tokens of the calls that were made in the range.
type HookTokens struct {
	Tokens
	Reported int64            `json:"reported" doc:"Deliveries whose agent reported how many tokens it used; others count 0."`
	ByAgent  map[string]int64 `json:"byAgent" nullable:"false" doc:"Total by agent, as namespace/name; agents that reported none are absent."`
}

// Trends counts events over time.
type Trends struct {
	TimeRange string    `json:"timeRange" example:"24h"`
	Interval  string    `json:"interval" doc:"Width of a bucket." example:"1h"`
	By        string    `json:"by" enum:"type,namespace,cluster"`
	Namespace string    `json:"namespace,omitempty"`
	Clusters  []string  `json:"clusters,omitempty" nullable:"false" doc:"The clusters that were counted; absent if that is khook's own alone."`
	StartTime time.Time `json:"startTime" doc:"Start of the first bucket."`
	EndTime   time.Time `json:"endTime" doc:"End of the range: now."`
	Keys      []string  `json:"keys" nullable:"false" doc:"The event types, namespaces or clusters that are counted. Of more than 50 namespaces or clusters those with fewer events are counted together, as *."`
	Buckets   []Bucket  `json:"buckets" nullable:"false" doc:"All buckets of the range, the empty ones too, the oldest first."`
}

// Bucket counts the events of a part of the range.
type Bucket struct {
	Start  time.Time        `json:"start"`
	Total  int64            `json:"total"`
	Counts map[string]int64 `json:"counts" nullable:"false" doc:"By type, namespace or cluster; each of keys is there."`
}
