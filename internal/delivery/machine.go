package delivery

import (
	"fmt"
	"time"
)

// Occasion is what an Observation is of.
type Occasion string

// The occasions of decisions.
const (
	Due        Occasion = "due"         // a step of the delivery is due
	Ready      Occasion = "ready"       // its turn has come: gates and peer are known
	CallFailed Occasion = "call-failed" // the message was not answered by a task, or could not leave
	Looked     Occasion = "looked"      // kagent was asked whether the message arrived
	LookFailed Occasion = "look-failed" // it could not be asked
)

// Fate is what became of a message, as far as one look can say.
type Fate string

// The fates.
const (
	Arrived Fate = "arrived"
	Missing Fate = "missing" // it did not arrive so far
	Unclear Fate = "unclear" // there is a trace of it, and no task
	Untold  Fate = "untold"  // this kagent can't be asked
)

// Closed is the first gate that is closed for a message: why it must not be sent. The zero value is an open way.
type Closed struct {
	Skip Skip
	Why  string // in a sentence
}

// Observation is what is seen beside a delivery's row.
type Observation struct {
	Of       Occasion
	Limits   Limits
	Peer     Peer          // whom a message would reach now
	Closed   Closed        // the gate, for a message that has not left
	Held     string        // why no message may leave for now, which closes nothing: calls are paused; "" if one may
	Fate     Fate          // of Looked
	Fault    Fault         // of CallFailed and LookFailed
	Harmless bool          // CallFailed had certainly no effect, whatever the fault may have elsewhere
	Pause    time.Duration // before another attempt, by their number and by what kagent asks for
	Worn     bool          // as much time was spent with asking in vain as there is patience for
	Own      string        // why it failed, in khook's own words
	Full     string        // and in full
}

// Do is what is done next for a delivery.
type Do string

// What can be done next. Where it needs the row on the disk, the row is saved before.
const (
	DoWait    Do = "wait"    // until Step.At
	DoPrepare Do = "prepare" // wait for the turn, and find out what Ready tells
	DoSend    Do = "send"    // the message leaves
	DoLook    Do = "look"    // ask whether it arrived
	DoEnd     Do = "end"     // it has ended
	DoExpire  Do = "expire"  // its time is up: a last look at its task, then the end
	DoFollow  Do = "follow"  // look at its task
	DoCancel  Do = "cancel"  // ask the agent to stop
	DoVerify  Do = "verify"  // watch what becomes of the incidents
)

// Step is what is done next.
type Step struct {
	Do Do
	At time.Time // of DoWait
}

// looksNeeded is how many looks in a row must miss a message before it counts as not arrived: it may just be on its way from kagent to
// its agent at one of them.
const looksNeeded = 2

// Decide is the machine that each message of a call passes: pending, sending, then arrived or lost, looked for, and pending again or
// working. It changes nothing but the row that it returns, and the same row and observation give the same decision, so that a model can
// try all orders of events.
//
// Invariants: the first message leaves only from a row without Sent, with all gates open and while nothing is held; another one only to a peer that knows
// the first by its ID, or after looks that did not find it; an answer takes Sent away only if it is about the first attempt.
func Decide(row Delivery, o Observation, now time.Time) (Delivery, Step) {
	switch o.Of {
	case Due:
		return row, row.due(o.Limits, now)
	case Ready:
		return row.ready(o, now)
	case Looked:
		return row.looked(o, now)
	case LookFailed:
		return row.lookFailed(o, now)
	default:
		return row.callFailed(o, now)
	}
}

// due is what the row alone says. A person's wish to cancel does not wait for NextAt, where no message may be with the agent.
func (d *Delivery) due(l Limits, now time.Time) Step {
	switch {
	case d.State.Ended():
		return Step{Do: DoVerify}
	case !now.Before(d.Deadline()):
		return Step{Do: DoExpire}
	case d.TaskID != "" && d.AsksToStop() && !now.Before(d.cancelDue(l)):
		return Step{Do: DoCancel}
	case d.TaskID != "":
		return Step{Do: DoFollow}
	case d.Sent == nil && d.CancelRequestedBy != "":
		return Step{Do: DoPrepare}
	case now.Before(d.NextAt):
		return Step{Do: DoWait, At: d.NextAt}
	}
	return Step{Do: DoPrepare}
}

// ready decides about a delivery whose turn has come.
func (d Delivery) ready(o Observation, now time.Time) (Delivery, Step) {
	s, open := d.Sent, o.Closed == Closed{}
	switch {
	case s == nil && !open:
		d.State, d.Skipped, d.Failure, d.Error = Canceled, o.Closed.Skip, o.Closed.Why, o.Closed.Why
		return d, Step{Do: DoEnd}
	case o.Held != "" && (s == nil || o.Peer.Once && s.By(o.Peer) && open):
		return d.held(o, now)
	case s == nil:
		return d.leaving(SentTo(o.Peer, now), now), Step{Do: DoSend}
	case o.Peer.Once && s.By(o.Peer) && open:
		return d.leaving(s.again(now), now), Step{Do: DoSend}
	case o.Peer.Lists && now.Before(o.Limits.settled(s)):
		return d.waiting(o.Limits.settled(s))
	case o.Peer.Lists:
		return d, Step{Do: DoLook}
	}
	return d.unknown(o)
}

// leaving is the row of a message that is about to leave.
func (d Delivery) leaving(s *Sent, now time.Time) Delivery {
	d.Sent, d.State, d.Dialect, d.CalledAt, d.NextAt = s, Calling, s.Dialect, now, time.Time{}
	d.Attempt++
	return d
}

// heldAgain is when what is held is looked at again, where nobody says before that it may leave.
const heldAgain = 5 * time.Minute

// held lets it wait for as long as calls are paused, or its time is up. NextAt is not moved: whoever ends the pause wakes it, and it is due
// then.
func (d Delivery) held(o Observation, now time.Time) (Delivery, Step) {
	d.Failure, d.Error = o.Held, o.Held
	_, step := d.waiting(now.Add(heldAgain))
	return d, step
}

// waiting lets it wait, never past its deadline: what kagent asks for must not keep a delivery from its end.
func (d Delivery) waiting(until time.Time) (Delivery, Step) {
	if end := d.Deadline(); until.After(end) {
		until = end
	}
	d.NextAt = until
	return d, Step{Do: DoWait, At: until}
}

// callFailed decides after an attempt that gave no task, also one that did not come as far as sending.
func (d Delivery) callFailed(o Observation, now time.Time) (Delivery, Step) {
	rule := o.Fault.Rule()
	switch {
	case d.Sent == nil:
		d.Attempt++
	case (o.Harmless || rule.Effect == NoEffect) && !d.Sent.Again:
		d.Sent = nil
	}
	d.Failure, d.Error = o.Own, o.Full
	if rule.Next == Failed || rule.Patience && o.Worn {
		d.State = Failed
		if d.Sent != nil && d.Sent.Again { // the error is about the last time that it was sent
			const earlier = "; it was sent before, and it is not known whether it arrived then: look at the agent's work"
			d.Failure, d.Error = d.Failure+earlier, d.Error+earlier
		}
		return d, Step{Do: DoEnd}
	}
	d.State = Calling
	if d.Sent == nil {
		d.State = Pending
	}
	return d.waiting(now.Add(max(o.Pause, rule.Pause)))
}

// looked decides after a look. What another peer does not find may be with the first one.
func (d Delivery) looked(o Observation, now time.Time) (Delivery, Step) {
	s := *d.Sent
	s.Looks++
	d.Sent = &s
	fate := o.Fate
	if fate == Unclear && s.Named {
		fate = Missing
	}
	switch {
	case fate == Arrived:
		return d, Step{Do: DoFollow}
	case fate == Untold, !s.By(o.Peer), fate == Unclear && !now.Before(s.At.Add(o.Limits.Unclear)):
		return d.unknown(o)
	case fate == Unclear:
		s.Missed = 0
		return d.waiting(now.Add(o.Pause))
	}
	if s.Missed++; s.Missed < looksNeeded {
		return d.waiting(now.Add(o.Limits.Settle))
	}
	d.Sent, d.State = nil, Pending // all gates are asked again
	return d.waiting(now)
}

// lookFailed goes on asking. Where the message must not be sent any more, nothing but its fate is left to be found out, and that
// has a bound.
func (d Delivery) lookFailed(o Observation, now time.Time) (Delivery, Step) {
	s := *d.Sent
	s.Looks++
	d.Sent = &s
	d.Failure, d.Error = o.Own, o.Full
	if o.Closed != (Closed{}) && o.Worn {
		return d.unknown(o)
	}
	return d.waiting(now.Add(max(o.Pause, o.Fault.Rule().Pause)))
}

// unknown ends a delivery of which nobody can say whether its message arrived. It is no call that was not made: Skipped stays empty,
// and it counts for windows and budgets.
func (d Delivery) unknown(o Observation) (Delivery, Step) {
	if o.Closed != (Closed{}) {
		d.State, d.Failure = Canceled, "it is not known whether the message arrived, and it is not sent again: "+o.Closed.Skip.since()
		d.Error = d.Failure
		return d, Step{Do: DoEnd}
	}
	d.State, d.Failure = Failed, "the answer to the call was lost, and it is not known whether the message arrived: the agent is not called again"
	why := "kagent can't tell"
	switch {
	case o.Peer.Known() && !d.Sent.By(o.Peer):
		why = "it was sent to " + d.Sent.other(o.Peer)
	case o.Fate == Unclear:
		why = "its session has no task; an agent may have answered without one"
	}
	d.Error = fmt.Sprintf("%s (%s). Look at the agent's work, then try the delivery again", d.Failure, why)
	return d, Step{Do: DoEnd}
}

// since is what closed the way after the message had left.
func (s Skip) since() string {
	switch s {
	case SkipRecovered:
		return "everything that it is about has ended"
	case SkipSuspended:
		return "the Hook is suspended"
	case SkipDeleted:
		return "the Hook was deleted"
	case SkipForbidden:
		return "the agent is not allowed any more"
	}
	return "a person canceled it"
}

// other says in which way the peer is another one than that which the message was sent to.
func (s *Sent) other(p Peer) string {
	switch {
	case s.Dialect != p.Dialect && s.Dialect == "":
		return "an unknown version of kagent"
	case s.Dialect != p.Dialect:
		return s.Dialect + ", and kagent was changed since: it is " + p.Dialect
	case s.URL != "" && s.URL != p.URL:
		return "kagent at another URL"
	}
	return "kagent as another user"
}
