package delivery

import "time"

// maxCancels is how often an agent is asked to stop before it counts as one that can't: kagent's Python agents never can.
const maxCancels = 3

// cancelDue is when the agent may be asked to stop (again). Between two tries its task is followed.
func (d *Delivery) cancelDue(l Limits) time.Time {
	if d.CancelAt.IsZero() {
		return time.Time{}
	}
	return d.CancelAt.Add(l.Cancel << min(d.CancelTries, maxCancels))
}

// Canceling is the row of a delivery whose agent is about to be asked to stop.
func Canceling(row Delivery, now time.Time) Delivery {
	row.CancelTries, row.CancelAt = row.CancelTries+1, now
	return row
}

// CancelFailed decides after a request to stop that was not granted. What comes from the way to the agent does not count against it,
// and goes on until the deadline; a refusal is final; and what an agent says that has no way to stop, an internal error or an unknown
// method, is tried a few times. Then the wish is over: the agent can't be stopped, and its task is followed on. Of a stalled one the end
// is waited for all the same: some agents refuse and end.
func CancelFailed(row Delivery, f Fault, now time.Time) (next Delivery, again bool) {
	switch f {
	case Refused:
		row.CancelTries = maxCancels
	case Lost, BadAnswer, Unreadable, WrongDialect:
	default:
		row.CancelTries--
	}
	if row.CancelTries < maxCancels {
		return row, true
	}
	return AskedToStop(row, now), false
}

// AskedToStop is the row of a delivery whose agent was asked to stop, and need not be asked again.
func AskedToStop(row Delivery, now time.Time) Delivery {
	row.CancelRequestedBy, row.CancelTries, row.CancelAt = "", 0, time.Time{}
	if row.Stop == StopAsking {
		row.Stop, row.StopAt = StopAsked, now
	}
	return row
}
