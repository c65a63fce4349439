// Package delivery holds what khook knows of its calls to agents: the delivery with its states, its log of
// entries, replies of people, groups of resources and why a call was or was not made. It is pure: no I/O and no
// clock of its own; it imports only package incident.
//
// The ledger creates deliveries in the transaction that records their cause, which makes the table of
// deliveries an outbox: whatever is recorded is called for, also after a crash. The dispatcher moves each one
// through its states. Invariants, which both keep:
//
//   - ID and MessageID are derived from facts, never drawn: the same cause gives the same idempotency key on
//     every replica and after every restart, which is what keeps an agent from being called twice.
//   - A delivery in a final state (State.Ended) never leaves it.
//   - Version changes with each recorded change; who saves an older one is refused (optimistic concurrency).
package delivery
