// Package app is the process: it builds the parts from its Options, starts and stops them in order, and has what runs
// on the leader only, what runs on every replica, and how the process does (introspection).
//
// It knows all parts and has no rule of its own about incidents or deliveries: whoever looks for why an agent was
// called finds it in ledger and dispatch. Only the command line and system tests import it.
//
// Invariants:
//
//   - Nothing is recorded and nobody is called except by the leader, and the new leader fences the former one
//     (Lead of store.Store) before it reads the history. Otherwise a leader that was paused could write on a history that has
//     moved on, and call an agent twice.
//   - The publisher only tells of what was committed. What must happen is read from the history, so that a process that
//     ends at any moment leaves nothing undone.
package app
