// Package client is the Go client of khook's HTTP API: it finds a running khook by its address or through a kube
// context, carries the caller's token, and follows live streams across lost connections.
//
// The token never goes where the caller did not mean it: not over plain HTTP to another machine, not after a redirect.
// Answers are bounded, and errors say what to change.
package client
