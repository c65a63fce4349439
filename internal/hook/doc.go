// Package hook knows which Hooks care about an event. It compiles Hook resources into configurations, keeps the live set
// of them, and matches events by selector and match expression within a budget of work.
//
// It does not say what is done about a match: dedup, budgets and loop guard are the ledger's. It reads no history and
// asks no cluster. Invariants:
//
//   - A configuration that can't be compiled is kept as invalid with its reason: its Hook's other configurations go on,
//     and each event that it would have been about is recorded as such. To leave it out would lose incidents silently.
//   - An evaluation is bounded, whatever expression and event are. What is over the budget counts as not evaluated and
//     is told, never as a match or none.
package hook
