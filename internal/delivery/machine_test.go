package delivery

import (
	"strings"
	"testing"
	"time"
)

var (
	sentAt = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	older  = Peer{Dialect: "0.9", User: "khook", URL: "http://a", Lists: true}
	newer  = Peer{Dialect: "1.0", User: "khook", URL: "http://a", Once: true}
)

func lostOn(p Peer) Delivery {
	return Delivery{ID: "d", State: Calling, CreatedAt: sentAt, Attempt: 1, Sent: SentTo(p, sentAt), Timeout: time.Hour}
}

// TestALostMessageIsLookedForBeforeAllGatesCountAgain walks through the whole of it, with a kagent before 1.0.
func TestALostMessageIsLookedForBeforeAllGatesCountAgain(t *testing.T) {
	o := Observation{Of: Ready, Limits: modelLimits, Peer: older, Closed: Closed{SkipCanceled, "canceled by ann before the agent was called"}}
	d, step := Decide(lostOn(older), o, sentAt.Add(time.Second))
	over := sentAt.Add(45 * time.Second)
	if step.Do != DoWait || !step.At.Equal(over) {
		t.Fatalf("right after the loss: %+v", step)
	}
	if d, step = Decide(d, o, over); step.Do != DoLook {
		t.Fatalf("when the request is over: %+v", step)
	}
	for n := range 2 {
		o.Of, o.Fate = Looked, Missing
		if d, step = Decide(d, o, over); step.Do != DoWait {
			t.Fatalf("after look %d: %+v", n, step)
		}
	}
	if d.Sent != nil || d.State != Pending {
		t.Fatalf("a message that did not arrive is still taken to be with the agent: %+v", d.Sent)
	}
	o.Of = Ready
	if d, step = Decide(d, o, over); step.Do != DoEnd || d.State != Canceled || d.Skipped != SkipCanceled {
		t.Errorf("%+v: %s, skipped %q", step, d.State, d.Skipped)
	}
	o.Closed = Closed{}
	d.State, d.Skipped = Pending, ""
	if d, step = Decide(d, o, over); step.Do != DoSend || d.Sent == nil || d.Attempt != 2 {
		t.Errorf("with open gates: %+v", step)
	}
}

// TestWhatNobodyKnowsIsSaid: each way to an end without knowing says so, and counts as a call.
func TestWhatNobodyKnowsIsSaid(t *testing.T) {
	other := func(p Peer, change func(*Peer)) Peer { change(&p); return p }
	for name, tc := range map[string]struct {
		sent, now Peer
		closed    Skip
		fate      Fate
		state     State
		says      string
	}{
		"upgraded":         {older, newer, "", "", Failed, "0.9, and kagent was changed since: it is 1.0"},
		"rolled back":      {newer, older, "", Missing, Failed, "1.0, and kagent was changed since: it is 0.9"},
		"another user":     {newer, other(newer, func(p *Peer) { p.User = "ann" }), "", "", Failed, "as another user"},
		"another user, up": {older, other(older, func(p *Peer) { p.User = "ann" }), "", Missing, Failed, "as another user"},
		"another URL":      {newer, other(newer, func(p *Peer) { p.URL = "http://b" }), "", "", Failed, "at another URL"},
		"canceled":         {newer, newer, SkipCanceled, "", Canceled, "a person canceled it"},
		"suspended":        {newer, newer, SkipSuspended, "", Canceled, "the Hook is suspended"},
		"deleted":          {newer, newer, SkipDeleted, "", Canceled, "the Hook was deleted"},
		"forbidden":        {newer, newer, SkipForbidden, "", Canceled, "not allowed any more"},
		"recovered":        {newer, newer, SkipRecovered, "", Canceled, "has ended"},
		"can't list":       {older, older, "", Untold, Failed, "kagent can't tell"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Observation{Of: Ready, Limits: modelLimits, Peer: tc.now}
			if tc.closed != "" {
				o.Closed = Closed{tc.closed, "closed"}
			}
			if tc.fate != "" {
				o.Of, o.Fate = Looked, tc.fate
			}
			d, step := Decide(lostOn(tc.sent), o, sentAt.Add(time.Hour))
			if step.Do != DoEnd || d.State != tc.state || d.Skipped != "" || !strings.Contains(d.Error, "not known whether the message arrived") || !strings.Contains(d.Error, tc.says) {
				t.Errorf("%s: %s, skipped %q, %q", step.Do, d.State, d.Skipped, d.Error)
			}
		})
	}
}

// TestOfAMessageThatWasSentTwiceTheFirstMayHaveArrived: that the second one was refused says nothing about it.
func TestOfAMessageThatWasSentTwiceTheFirstMayHaveArrived(t *testing.T) {
	o := Observation{Of: CallFailed, Limits: modelLimits, Peer: newer, Fault: WrongDialect, Own: "refused", Full: "refused", Harmless: true, Worn: true}
	once := lostOn(newer)
	if d, _ := Decide(once, o, sentAt.Add(time.Minute)); d.State != Failed || strings.Contains(d.Error, "not known") {
		t.Errorf("the only one was refused: %s, %q", d.State, d.Error)
	}
	twice := once
	twice.Sent = twice.Sent.again(sentAt.Add(time.Minute))
	d, step := Decide(twice, o, sentAt.Add(2*time.Minute))
	if step.Do != DoEnd || d.State != Failed || d.Skipped != "" || !strings.Contains(d.Error, "not known whether it arrived") || !strings.Contains(d.Failure, "not known") {
		t.Errorf("%+v: %s, %q, %q", step, d.State, d.Failure, d.Error)
	}
}

func TestASessionWithoutATaskIsLookedForAWhile(t *testing.T) {
	o := Observation{Of: Looked, Limits: modelLimits, Peer: older, Fate: Unclear, Pause: time.Minute}
	if d, step := Decide(lostOn(older), o, sentAt.Add(time.Minute)); step.Do != DoWait || d.Sent == nil {
		t.Errorf("%+v", step)
	}
	if d, step := Decide(lostOn(older), o, sentAt.Add(modelLimits.Unclear)); step.Do != DoEnd || d.State != Failed || !strings.Contains(d.Error, "answered without one") {
		t.Errorf("%+v: %s", step, d.Error)
	}
	named := lostOn(older)
	named.Sent.Named, named.Sent.Missed = true, 1
	if d, _ := Decide(named, o, sentAt.Add(time.Minute)); d.Sent != nil || d.State != Pending {
		t.Error("of a session that an earlier khook named, a message that did not arrive is not sent again")
	}
}

func TestNoPauseOutlivesTheDeadline(t *testing.T) {
	row := Delivery{State: Pending, CreatedAt: sentAt}
	d, step := Decide(row, Observation{Of: CallFailed, Fault: RateLimited, Pause: 48 * time.Hour}, sentAt.Add(time.Hour))
	if end := sentAt.Add(MaxWait); !step.At.Equal(end) || !d.NextAt.Equal(end) {
		t.Errorf("it waits until %s, and its deadline is %s", step.At, end)
	}
}

// TestTheTableOfFaultsIsWhole: each fault has a rule, and one that has not may have had an effect.
func TestTheTableOfFaultsIsWhole(t *testing.T) {
	for _, f := range Faults() {
		r, ok := faults[f]
		if !ok || r.Next == Calling && r.Effect == NoEffect || r.Next == Pending && r.Effect != NoEffect {
			t.Errorf("%s: %+v", f, r)
		}
	}
	if len(faults) != len(Faults()) || Fault("new").Rule().Effect != MayHave {
		t.Error("a fault without a rule is taken for harmless")
	}
}

func TestAReplyIsSentOnceAndThenLookedFor(t *testing.T) {
	row := Delivery{ID: "d", TaskID: "t", State: InputRequired, Reply: &Reply{N: 1, QuestionID: "q"}}
	for name, tc := range map[string]struct {
		sent *Sent
		seen Asked
		at   time.Duration
		want ReplyStep
	}{
		"not sent":              {nil, Asked{Asks: true, Peer: older}, 0, ReplySend},
		"not sent, moved on":    {nil, Asked{Peer: older}, 0, ReplyUnasked},
		"it has it":             {SentTo(older, sentAt), Asked{Heard: true, Asks: true, Peer: older}, 0, ReplyHas},
		"another question":      {SentTo(older, sentAt), Asked{Peer: older}, 0, ReplyMoved},
		"under way":             {SentTo(newer, sentAt), Asked{Asks: true, Peer: newer}, 44 * time.Second, ReplyWait},
		"lost, looked once":     {SentTo(newer, sentAt), Asked{Asks: true, Peer: newer}, 45 * time.Second, ReplyWait},
		"lost, twice":           {&Sent{Dialect: "1.0", User: "khook", URL: "http://a", At: sentAt, Missed: 1}, Asked{Asks: true, Peer: newer}, 46 * time.Second, ReplySend},
		"lost, before 1.0":      {&Sent{Dialect: "0.9", User: "khook", URL: "http://a", At: sentAt, Missed: 1}, Asked{Asks: true, Peer: older}, 46 * time.Second, ReplyAgain},
		"lost, then upgraded":   {&Sent{Dialect: "0.9", User: "khook", URL: "http://a", At: sentAt, Missed: 1}, Asked{Asks: true, Peer: newer}, 46 * time.Second, ReplyAgain},
		"lost, another user":    {&Sent{Dialect: "1.0", User: "ann", URL: "http://a", At: sentAt, Missed: 1}, Asked{Asks: true, Peer: newer}, 46 * time.Second, ReplyAgain},
		"of an earlier khook":   {nil, Asked{Asks: true, Peer: older}, 46 * time.Second, ReplyWait},
		"of an earlier, moved":  {nil, Asked{Peer: older}, 46 * time.Second, ReplyMoved},
		"lost and heard at 1.0": {&Sent{Dialect: "1.0", At: sentAt, Missed: 1}, Asked{Heard: true, Peer: newer}, time.Hour, ReplyHas},
	} {
		t.Run(name, func(t *testing.T) {
			d := row
			reply := *row.Reply
			d.Reply = &reply
			if reply.Sent = tc.sent; strings.HasPrefix(name, "of an earlier") {
				reply.SentAt = sentAt
			}
			tc.seen.Limits = modelLimits
			next, got := DecideReply(d, tc.seen, sentAt.Add(tc.at))
			if got != tc.want || got == ReplySend && (next.Reply.Sent == nil || next.Reply.Sent.At.IsZero()) {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// TestACancelIsTriedAFewTimes: what the way to the agent does not let through is no sign that the agent can't.
func TestACancelIsTriedAFewTimes(t *testing.T) {
	for _, f := range Faults() {
		row, tries := Delivery{TaskID: "t", CancelRequestedBy: "ann"}, 0
		for again := true; again && tries < 20; tries++ {
			row, again = CancelFailed(Canceling(row, sentAt), f, sentAt)
		}
		want := 20
		switch f {
		case Refused:
			want = 1
		case Lost, BadAnswer, Unreadable, WrongDialect:
			want = maxCancels
		}
		if tries != want || (row.CancelRequestedBy == "") != (want < 20) {
			t.Errorf("%s: %d tries, want %d; wanted by %q", f, tries, want, row.CancelRequestedBy)
		}
	}
}
