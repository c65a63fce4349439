// Package incident holds khook's words as types, and the rules between them. It is pure: no
// I/O, no clock of its own, and it imports nothing else of khook.
//
// A Signal is one observation from a source. The ledger turns it into an Event, which opens or
// repeats an Incident, for which hooks get Deliveries. Each hook configuration that an event
// concerns gets a Disposition: the reason why it did or did not call its agent.
package incident
