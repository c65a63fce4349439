package server

import (
	"context"

	"github.com/kagent-dev/khook/internal/api"
)

func (s *Server) memory(context.Context) api.MemoryHealth {
	r := runtimeStats()
	return api.MemoryHealth{
		HeapBytes: r.HeapBytes, UsedBytes: r.MemoryBytes, LimitBytes: r.MemoryLimit, Goroutines: r.Goroutines,
		Connections: s.openConnections(), Streams: s.streams.count(),
	}
}
