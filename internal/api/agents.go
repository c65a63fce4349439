package api

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// Agents is how agents do, across Hooks.
type Agents struct {
	TimeRange string       `json:"timeRange" example:"7d"`
	StartTime time.Time    `json:"startTime"`
	EndTime   time.Time    `json:"endTime" doc:"Now."`
	Items     []AgentStats `json:"data" nullable:"false" doc:"The one with the most calls first."`
	Truncated bool         `json:"truncated,omitempty" doc:"Only the newest 10,000 deliveries of the range count: ask for a shorter one, one namespace or one agent."`
}

// AgentStats is how an agent does: about the deliveries that were made due in the range.
type AgentStats struct {
	Agent     Name                              `json:"agent"`
	Cluster   string                            `json:"cluster,omitempty" doc:"Name of the cluster. Agents of the same name in several clusters are told apart."`
	Hooks     []string                          `json:"hooks" nullable:"false" doc:"That called it, as namespace/name; at most 50."`
	Calls     int64                             `json:"calls" doc:"Deliveries whose agent was called, retries too."`
	Skipped   int64                             `json:"skipped" doc:"Deliveries that ended without a call."`
	Open      int64                             `json:"open" doc:"Deliveries that have not ended."`
	Answered  int64                             `json:"answered" doc:"Calls that the agent completed."`
	Failed    int64                             `json:"failed" doc:"Calls that ended otherwise."`
	Questions int64                             `json:"questions" doc:"Questions that people answered, and those that wait for an answer now."`
	Tokens    int64                             `json:"tokens" doc:"Of the language model, as far as the agent reported them."`
	Answer    Durations                         `json:"answerSeconds" doc:"From the call to the end of the task, of those that the agent completed."`
	Recovery  Durations                         `json:"recoverySeconds" doc:"From the call being due to recovery, of those that recovered."`
	Outcomes  HookOutcomes                      `json:"outcomes" doc:"baseRate is there if one agent is asked for: of the configurations that call it."`
	ByType    map[incident.EventType]AgentCount `json:"byType" nullable:"false" doc:"Event types for which it was called."`
}

// AgentCount counts an agent's calls for an event type.
type AgentCount struct {
	Calls     int64 `json:"calls"`
	Answered  int64 `json:"answered"`
	Recovered int64 `json:"recovered"`
	Known     int64 `json:"known" doc:"Calls whose outcome is known: recovered, relapsed or persisting. Fewer than ten are too few to compare."`
}
