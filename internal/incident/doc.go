// Package incident holds what khook knows of what went wrong: signals, events and incidents, and the rules between them. It is
// pure.
//
// A Signal is one observation from a source. The ledger turns it into an Event, which opens or repeats an Incident, or it ends
// or reopens incidents.
//
// It must not do I/O, read a clock, or import anything else of khook: all other packages build on it. What is done about an
// incident, the calls to agents, is package delivery's.
package incident
