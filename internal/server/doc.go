// Package server is khook's HTTP API: queries, statistics, hooks, health and diagnostics, read
// from the history on every replica.
//
// The Go types of this package are the source of the routes, of what they accept and of the
// OpenAPI document. Every route but the health asks Kubernetes who the caller is, and whether
// that caller may read.
//
// It writes no history: what people want done goes to the leader through Actions. It reads through store.Reader only,
// so that no question makes khook's own work wait. Invariants:
//
//   - Nothing is read before it is known whether the caller may know of it, and an ID that is not there is answered as
//     one that is not the caller's.
//   - What a request may hold, in memory, in time and in number, is bounded before it is held (admit.go, limits.go).
//   - Texts of agents and prompts leave only where the caller has the right to them (texts.go).
package server
