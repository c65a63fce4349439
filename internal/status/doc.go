// Package status writes what khook says on a Hook: its status with conditions and active events, and Kubernetes Events.
//
// It tells and never decides: what it writes is computed from the history and the live set of Hooks, so that a status
// that was lost or refused is written again, and a new leader writes the same. Texts of agents are not in it, since
// everybody reads a status who may read the Hook.
package status
