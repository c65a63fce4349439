package server

import "context"

func (s *Server) memory(context.Context) MemoryHealth {
	r := runtimeStats()
	return MemoryHealth{
		HeapBytes: r.HeapBytes, UsedBytes: r.MemoryBytes, LimitBytes: r.MemoryLimit, Goroutines: r.Goroutines,
		Connections: s.openConnections(), Streams: s.streams.count(),
	}
}
