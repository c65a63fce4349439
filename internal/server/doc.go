// Package server is khook's HTTP API: queries, statistics, hooks, health and diagnostics, read
// from the history on every replica.
//
// The Go types of this package are the source of the routes, of what they accept and of the
// OpenAPI document. Every route but the health asks Kubernetes who the caller is, and whether
// that caller may read.
package server
