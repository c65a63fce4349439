// Package replay runs recordings of a cluster's watch events through the real detection, ledger and Hooks on a virtual
// clock, and tells which incidents khook would have recorded and which agents it would have called.
//
// It has no rules of its own: it exists so that a question about the past is answered by the code that runs. It calls
// nobody, and writes to a history in memory only.
package replay
