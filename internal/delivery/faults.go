package delivery

import "time"

// Fault is what sort of failure the answer of an agent was, or the lack of one.
type Fault string

// The faults.
const (
	Unreachable  Fault = "unreachable"   // no connection: nothing was sent
	Lost         Fault = "lost"          // the answer was lost, or says nothing of the message's fate
	RateLimited  Fault = "rate-limited"  // kagent wants fewer calls
	NotReady     Fault = "not-ready"     // kagent 1.x does not take work now: it makes, pauses or resumes a session
	AgentDown    Fault = "agent-down"    // kagent is there, and could not connect to its agent
	NoAgent      Fault = "no-agent"      // kagent has no such agent; it may come
	Unauthorized Fault = "unauthorized"  // kagent does not accept who calls; tokens rotate
	Refused      Fault = "refused"       // the message itself is wrong
	WrongDialect Fault = "wrong-dialect" // kagent does not understand the call
	Astray       Fault = "astray"        // something on the way to kagent answered: a redirect, a login, a gateway
	BadAnswer    Fault = "bad-answer"    // the answer is none: no JSON, too large, for another task
	Unreadable   Fault = "unreadable"    // kagent could not read what its agent said
	TaskGone     Fault = "task-gone"     // kagent does not know the task
)

// Effect is what a message that failed may have done.
type Effect string

// The effects.
const (
	NoEffect   Effect = "none"
	MayHave    Effect = "may have arrived"
	HasArrived Effect = "arrived"
)

// Breaker is whose circuit breaker a failure is a vote for.
type Breaker string

// The breakers. What an agent or a page on the way says is no reason to stop the calls of other agents.
const (
	NoBreaker  Breaker = ""
	OfTheAgent Breaker = "agent"
	OfAll      Breaker = "all" // only where no connection comes about
)

// Rule is what follows from a fault of a call.
type Rule struct {
	Effect   Effect
	Next     State         // Pending to send it again, Calling to find out about it first, Failed for good
	Patience bool          // after some time that is spent with asking it is Failed
	Pause    time.Duration // at least, where kagent names none
	Breaker  Breaker
}

// faults is the table of an agent's errors. What is not said before an agent can have the message may have had an effect.
// Sources: what kagent 0.8.6 and 0.9.12 said when they were run, and kagent 1.x's own source and documents, as told in
// docs/decisions/0025; the status codes are RFC 9110's.
var faults = map[Fault]Rule{
	Unreachable:  {NoEffect, Pending, false, 0, OfAll},
	Lost:         {MayHave, Calling, false, 0, OfTheAgent},
	RateLimited:  {NoEffect, Pending, false, 0, NoBreaker},
	NotReady:     {NoEffect, Pending, false, 100 * time.Millisecond, NoBreaker},
	AgentDown:    {NoEffect, Pending, false, 0, OfTheAgent},
	NoAgent:      {NoEffect, Pending, true, 15 * time.Second, NoBreaker},
	Unauthorized: {NoEffect, Pending, false, time.Minute, NoBreaker},
	Refused:      {NoEffect, Failed, false, 0, NoBreaker},
	WrongDialect: {NoEffect, Pending, true, 0, NoBreaker},
	Astray:       {NoEffect, Pending, true, 0, NoBreaker},
	BadAnswer:    {MayHave, Calling, true, 0, OfTheAgent},
	Unreadable:   {MayHave, Calling, false, 0, OfTheAgent},
	TaskGone:     {MayHave, Calling, true, 0, NoBreaker}, // of a call, which names no task, it makes no sense
}

// Faults lists all faults.
func Faults() []Fault {
	return []Fault{Unreachable, Lost, RateLimited, NotReady, AgentDown, NoAgent, Unauthorized, Refused, WrongDialect, Astray, BadAnswer, Unreadable, TaskGone}
}

// Rule is what follows from the fault. One that is not in the table may have had an effect.
func (f Fault) Rule() Rule {
	if r, ok := faults[f]; ok {
		return r
	}
	return faults[Lost]
}
