// Package replay runs recordings of a cluster's watch events through the controller's own detection, ledger, Hooks and
// dispatcher on a virtual clock, and tells which incidents khook would have recorded and which agents it would have called.
//
// It has no rules of its own: it exists so that a question about the past is answered by the code that runs. What it must
// know besides is only when that code is asked: the end of quiet incidents, what is held back and due calls each at their
// time. It calls nobody, and writes to a history in memory only. Its agents finish at once and change nothing; after the
// last record nothing is observed any more (decision 0010).
package replay
