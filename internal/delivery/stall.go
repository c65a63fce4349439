package delivery

import "time"

// DefaultStallAfter is how long nothing new may be seen of a task before it counts as stalled, where the Hook does not say.
const DefaultStallAfter = 15 * time.Minute

// stopWithin is how soon after its agent was asked to stop a stalled task must end, before it counts as one that can't be stopped.
const stopWithin = 10 * time.Minute

// OnStall says what khook does about a stalled task by itself; "" is OnStallWait.
type OnStall string

// What can be done about a stalled task. None of them ends its delivery: only the task's own end does, its timeout, or a person.
const (
	OnStallWait   OnStall = "wait"   // a person decides
	OnStallCancel OnStall = "cancel" // its agent is asked to stop
	OnStallRetry  OnStall = "retry"  // the same, and once the task has ended the call is made again
)

// OnStalls lists all of them.
func OnStalls() []OnStall { return []OnStall{OnStallWait, OnStallCancel, OnStallRetry} }

// stops says whether khook asks the agent to stop.
func (o OnStall) stops() bool { return o == OnStallCancel || o == OnStallRetry }

// Stop is how far khook has come with stopping a stalled task; "" if it does not want to.
type Stop string

// The steps of stopping a stalled task.
const (
	StopAsking Stop = "asking"  // its agent is being asked to stop
	StopAsked  Stop = "asked"   // its agent was asked, whatever it said; the end of the task is waited for
	StopInVain Stop = "in-vain" // it did not end: it can't be stopped, and a person is asked
	StopLeft   Stop = "left"    // a person has canceled the delivery: khook leaves it to people, for good
)

// StallChange is what a look at a task changed about its being stalled.
type StallChange string

// The changes.
const (
	StallNone   StallChange = ""
	StallBegan  StallChange = "stalled"           // nothing new was seen for too long
	StallOver   StallChange = "goes-on"           // something new was seen
	StallInVain StallChange = "cannot-be-stopped" // it did not end after its agent was asked to stop
)

// StallChanges lists all changes.
func StallChanges() []StallChange { return []StallChange{StallBegan, StallOver, StallInVain} }

// Glance is what a look at a delivery's task found, as far as it matters for whether the task is stalled.
type Glance struct {
	// Said is a digest of all that the task says, its state included; 0 if kagent says that the agent is down, so that there
	// can't be anything new. A look that fails otherwise says nothing of the task, and is no Glance.
	Said int64
}

// stallAfter is StallAfter with its default, which is that of rows of an earlier khook.
func (d *Delivery) stallAfter() time.Duration {
	if d.StallAfter == 0 {
		return DefaultStallAfter
	}
	return d.StallAfter
}

// StallsAt is when the delivery's task counts as stalled unless something new is seen of it; zero if it can't be, or is already.
func (d *Delivery) StallsAt() time.Time {
	if d.State != Working || d.HeardAt.IsZero() || !d.StalledSince.IsZero() {
		return time.Time{}
	}
	return d.HeardAt.Add(d.stallAfter())
}

// Glanced is the row after a look at its task. Its state must be that of the task already.
//
// Invariants: what was seen of a task, and since when nothing new was, is in the row alone, so that a restart changes neither; a
// stall ends no delivery; after something new was seen the agent is not asked to stop for the stall that is over.
func Glanced(row Delivery, g Glance, now time.Time) (Delivery, StallChange) {
	if row.HeardAt.After(now) {
		row.HeardAt = now // the clock was ahead
	}
	switch {
	case row.State.Ended():
		return row, StallNone // see TriesAgain
	case g.Said == 0 || g.Said == row.HeardSum:
		if row.State != Working { // it waits for a person
			return row, StallNone
		}
		return row.silent(g, now)
	case row.HeardSum == 0 && !row.HeardAt.IsZero(): // an earlier khook kept only the time
		row.HeardSum = g.Said
		return row, StallNone
	}
	return row.heard(g, now)
}

// heard is the row after a look that showed something new. An agent that was asked to stop may still do so.
func (d Delivery) heard(g Glance, now time.Time) (Delivery, StallChange) {
	stalled := !d.StalledSince.IsZero()
	d.HeardAt, d.HeardSum, d.StalledSince = now, g.Said, time.Time{}
	if d.Stop == StopAsking || d.Stop == StopInVain {
		d.Stop, d.StopAt = "", time.Time{}
	}
	if stalled {
		return d, StallOver
	}
	return d, StallNone
}

// silent is the row after a look that showed nothing new.
func (d Delivery) silent(g Glance, now time.Time) (Delivery, StallChange) {
	switch {
	case d.HeardAt.IsZero():
		d.HeardAt = now
	case d.StalledSince.IsZero():
		if now.Before(d.StallsAt()) {
			return d, StallNone
		}
		d.StalledSince = d.HeardAt
		if d.OnStall.stops() && d.Stop != StopLeft {
			d.Stop, d.StopAt, d.CancelTries, d.CancelAt = StopAsking, now, 0, time.Time{}
		}
		return d, StallBegan
	// One that could not be asked is not said to be unable to stop, unless it is the agent itself that is not there.
	case (d.Stop == StopAsked || d.Stop == StopAsking && g.Said == 0) && !now.Before(d.StopAt.Add(stopWithin)):
		d.Stop = StopInVain
		return d, StallInVain
	}
	return d, StallNone
}

// AsksToStop says whether the agent is to be asked to stop: a person wants it, or the Hook does of a stalled task.
func (d *Delivery) AsksToStop() bool { return d.CancelRequestedBy != "" || d.Stop == StopAsking }

// TriesAgain says whether the call of a delivery whose task has ended is made again, because khook asked its agent to stop. It is
// made once: what asks again after a stall does not do so by itself.
func (d *Delivery) TriesAgain(now time.Time) bool {
	switch {
	case d.OnStall != OnStallRetry || d.State != Canceled && d.State != Failed:
		return false
	// A delivery also fails when kagent has lost its task, whose agent may be at work.
	case d.TaskState != "canceled" && d.TaskState != "failed":
		return false
	case d.Stop != StopAsked && d.Stop != StopAsking:
		return false
	}
	return now.Before(d.StopAt.Add(stopWithin)) || !d.StalledSince.IsZero()
}

// CanceledBy is the row of a delivery that a person wants to end. What the Hook wants to be done about a stall is over with it.
func CanceledBy(row Delivery, person string) Delivery {
	row.CancelRequestedBy, row.CancelTries, row.CancelAt = person, 0, time.Time{}
	row.Stop, row.StopAt = StopLeft, time.Time{}
	return row
}
