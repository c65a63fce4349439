package server

import "context"

// MemoryHealth is what khook takes of the machine.
type MemoryHealth struct {
	HeapBytes   uint64 `json:"heapBytes" doc:"Live objects and those not yet swept."`
	UsedBytes   uint64 `json:"usedBytes" doc:"All that the Go runtime got from the system. SQLite's caches are beside it."`
	LimitBytes  int64  `json:"limitBytes,omitempty" doc:"What the Go runtime keeps to; absent for no limit."`
	Goroutines  int    `json:"goroutines"`
	Connections int    `json:"connections" doc:"Open ones, to the HTTP API."`
	Streams     int    `json:"streams" doc:"Live streams that are open."`
}

func (s *Server) memory(context.Context) MemoryHealth {
	r := runtimeStats()
	return MemoryHealth{
		HeapBytes: r.HeapBytes, UsedBytes: r.MemoryBytes, LimitBytes: r.MemoryLimit, Goroutines: r.Goroutines,
		Connections: s.openConnections(), Streams: s.streams.count(),
	}
}
