package api

import (
	"time"
)

// HealthStatus says how a part of khook does.
type HealthStatus string

// The verdicts, the best first.
const (
	Healthy   HealthStatus = "healthy"
	Degraded  HealthStatus = "degraded"  // it works, but something needs a person's eye
	Unhealthy HealthStatus = "unhealthy" // it does not do its work
)

// Health says how khook does.
type Health struct {
	Status        HealthStatus `json:"status" enum:"healthy,degraded,unhealthy" doc:"The worst of the parts. 503 comes with unhealthy."`
	Reasons       []string     `json:"reasons" nullable:"false" doc:"Why it is not healthy."`
	Warnings      []string     `json:"warnings" nullable:"false" doc:"What does not make it less healthy and should be changed, such as settings that do not fit into the memory."`
	Version       string       `json:"version"`
	StartedAt     time.Time    `json:"startedAt"`
	UptimeSeconds float64      `json:"uptimeSeconds"`
	Leader        bool         `json:"leader" doc:"Whether this replica watches and calls; the others stand by and answer queries."`

	Replica  ReplicaHealth  `json:"replica"`
	Server   APIHealth      `json:"server"`
	Pipeline PipelineHealth `json:"pipeline"`
	Plugins  []PluginHealth `json:"plugins" nullable:"false" doc:"The event sources; none on a replica that stands by."`
	Store    PartHealth     `json:"store" doc:"The history."`
	Kagent   KagentHealth   `json:"kagent"`
	Memory   MemoryHealth   `json:"memory"`
}

// ReplicaHealth is which of several replicas this is, and which one leads.
type ReplicaHealth struct {
	Name       string    `json:"name" doc:"Of this replica: its Pod." example:"khook-6d5f7c9b8-x2x9k"`
	Leader     string    `json:"leader,omitempty" doc:"The replica that leads, or was the last one to; absent if none has led yet." example:"khook-6d5f7c9b8-r7k2p"`
	Term       int64     `json:"term" doc:"Of the leader: it grows with each one."`
	Since      time.Time `json:"since,omitzero" required:"false" doc:"When the term began."`
	LagChanges int64     `json:"lagChanges" doc:"Numbers of the change sequence that the streams of this replica are behind."`
	LagSeconds float64   `json:"lagSeconds" doc:"How long ago the streams of this replica had seen all changes."`
}

// PublicHealth is what everybody may know of the health.
type PublicHealth struct {
	Status HealthStatus `json:"status" enum:"healthy,degraded,unhealthy" doc:"The worst of the parts. 503 comes with unhealthy."`
}

// PartHealth is how a part does.
type PartHealth struct {
	Status HealthStatus `json:"status" enum:"healthy,degraded,unhealthy"`
	Reason string       `json:"reason,omitempty" doc:"What is wrong and what to do."`
}

// APIHealth is how the HTTP API does.
type APIHealth struct { //nolint:revive // it is the name of the schema in the OpenAPI document, which clients are generated from
	PartHealth
	Requests int64 `json:"requests" doc:"Answered since the start."`
	Errors   int64 `json:"errors" doc:"Answered with 5xx since the start."`
	InFlight int64 `json:"inFlight"`
}

// PipelineHealth is how the way from the cluster to the agents does.
type PipelineHealth struct {
	PartHealth
	State                string  `json:"state" enum:"leading,standby,starting" doc:"leading: this replica watches and calls. standby: another one does. starting: the first lists are not in yet."`
	OpenIncidents        int     `json:"openIncidents"`
	OldestPendingSeconds float64 `json:"oldestPendingSeconds" doc:"Age of the oldest delivery whose agent was not reached yet."`
}

// PluginHealth is how an event source does.
type PluginHealth struct {
	Name        string    `json:"name" example:"kubernetes-pods"`
	State       string    `json:"state" enum:"up,down,starting"`
	Since       time.Time `json:"since,omitzero" required:"false" doc:"Since when it is in that state."`
	LagSeconds  float64   `json:"lagSeconds" doc:"How long its newest change waited before khook looked at it."`
	LastEvent   time.Time `json:"lastEvent,omitzero" required:"false" doc:"When its newest change came."`
	LastContact time.Time `json:"lastContact,omitzero" required:"false" doc:"When the source last said something."`
	Namespace   string    `json:"namespace,omitempty" doc:"What it watches; absent for all namespaces."`
	Restarts    int64     `json:"restarts" doc:"How often it had to be opened again."`
	Error       string    `json:"error,omitempty" doc:"The newest one; absent while it is up."`
}

// KagentHealth is how kagent can be reached.
type KagentHealth struct {
	PartHealth
	CheckedAt time.Time `json:"checkedAt,omitzero" required:"false"`
}

// Diagnostics is what helps to find out why khook does as it does.
type Diagnostics struct {
	Health     Health         `json:"health"`
	Queues     []Queue        `json:"queues" nullable:"false"`
	Deliveries map[string]int `json:"deliveries" doc:"Deliveries under way, by state."`
	Store      StoreStats     `json:"store"`
	Runtime    RuntimeStats   `json:"runtime"`
	Build      BuildInfo      `json:"build"`
	Hooks      int            `json:"hooks" doc:"Hooks that this replica knows."`
	Settings   map[string]any `json:"settings" doc:"The effective settings; secrets are left out."`
}

// Queue is something in which work waits.
type Queue struct {
	Name             string  `json:"name"`
	Depth            int     `json:"depth"`
	Limit            int     `json:"limit,omitempty" doc:"Absent where the queue is rows of the history."`
	OldestAgeSeconds float64 `json:"oldestAgeSeconds,omitempty"`
}

// StoreStats is how large and how quick the history is.
type StoreStats struct {
	SizeBytes        int64   `json:"sizeBytes"`
	LastChange       int64   `json:"lastChange" doc:"Newest number of the change sequence."`
	ReadLatencyMs    float64 `json:"readLatencyMs" doc:"Of a small read, now."`
	WriteLatencyMs   float64 `json:"writeLatencyMs,omitempty" doc:"Of an empty durable write, now."`
	WriteError       string  `json:"writeError,omitempty"`
	RetentionSeconds float64 `json:"retentionSeconds"`
}

// RuntimeStats is what the Go runtime says.
type RuntimeStats struct {
	Goroutines      int     `json:"goroutines"`
	CPUs            int     `json:"cpus"`
	HeapBytes       uint64  `json:"heapBytes" doc:"Live objects and those not yet swept."`
	MemoryBytes     uint64  `json:"memoryBytes" doc:"All that the runtime got from the system."`
	GCCycles        uint64  `json:"gcCycles"`
	GCPauseP99Ms    float64 `json:"gcPauseP99Ms" doc:"Since the start."`
	GCCPUSeconds    float64 `json:"gcCpuSeconds"`
	MemoryLimit     int64   `json:"memoryLimit,omitempty" doc:"Of the runtime, in bytes, if one is set."`
	OpenConnections int64   `json:"openConnections" doc:"Of the HTTP API."`
}

// BuildInfo is what khook was built from.
type BuildInfo struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform" example:"linux/amd64"`
	Revision  string `json:"revision,omitempty"`
	Modified  bool   `json:"modified,omitempty"`
}

// MemoryHealth is what khook takes of the machine.
type MemoryHealth struct {
	HeapBytes   uint64 `json:"heapBytes" doc:"Live objects and those not yet swept."`
	UsedBytes   uint64 `json:"usedBytes" doc:"All that the Go runtime got from the system. SQLite's caches are beside it."`
	LimitBytes  int64  `json:"limitBytes,omitempty" doc:"What the Go runtime keeps to; absent for no limit."`
	Goroutines  int    `json:"goroutines"`
	Connections int    `json:"connections" doc:"Open ones, to the HTTP API."`
	Streams     int    `json:"streams" doc:"Live streams that are open."`
}
