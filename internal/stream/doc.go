// Package stream serves sessions that follow the change log live, as server-sent events or over a WebSocket.
//
// It knows neither routes nor tokens: what it needs of the server is Caller. What is sent comes from package feed.
// Invariants:
//
//   - A client that comes back with the last ID it saw gets every later change, in order; a range that the history no
//     longer has is told as a gap and never passed over. So an ID is sent only behind all changes before it, and a
//     change is left out only for a later one of the same event.
//   - A session that is not read takes a bounded part of the memory: what is held back is bounded, and what it reads
//     from the history waits for room (backpressure).
//   - It ends soon after the right to read is taken away. That Kubernetes can't be asked is no such no, but ends it after
//     a while.
package stream
