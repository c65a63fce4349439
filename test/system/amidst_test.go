package system

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
)

// TestKilledAtAnyMomentWhilePeopleActAndKagentChangesNobodyIsCalledTwice ends khook at random moments, as the test without people does, while a
// person answers questions, approves and cancels; kagent is upgraded and rolled back, and khook becomes another user of it, at any moment, too.
func TestKilledAtAnyMomentWhilePeopleActAndKagentChangesNobodyIsCalledTwice(t *testing.T) {
	random := chance(t)
	dialects, stops := triedDialects(random), 240/len(agent.Dialects())
	if !torture.full {
		stops = 8
	}
	t.Run("beginning with", func(t *testing.T) {
		for _, dialect := range dialects {
			seed := random.Uint64()
			t.Run(dialect, func(t *testing.T) {
				t.Parallel()
				r := newRestless(t, dialect, rand.New(rand.NewPCG(seed, 0)))
				r.endure(max(1, stops/torture.every))
				tortureReport.result(r.judge())
			})
		}
	})
}

// restless is a storm in which people act, and kagent and khook's user there change.
type restless struct {
	*storm
	person *person
	user   string
	was    int // how often something has changed
}

func newRestless(t testing.TB, dialect string, random *rand.Rand) *restless {
	t.Helper()
	r := &restless{storm: newStorm(t, dialect, amidst, random), user: firstUser}
	r.khook.kill()
	r.names = []string{"asks", "wants", "works", "w", "w"}
	r.person = newPerson(r.ns, func() []*process { return []*process{r.khook} })
	r.args = append(append(r.args, "--verify-window", "90s"), openToPeople...) // khook is hardly ever up for long enough to see that a Pod is well again
	r.start()
	return r
}

func (r *restless) start() { r.khook = controller(r.t, append(r.args, "--kagent-user-id", r.user)...) }

// endure stops khook so many times, while Pods fail and people act. What changes does so while khook works or while it is down.
func (r *restless) endure(stops int) {
	for range stops {
		moment := time.Now().Add(time.Duration(r.random.IntN(2500)) * time.Millisecond)
		change := time.Now().Add(time.Duration(r.random.IntN(10_000)) * time.Millisecond) // of which most never come
		for left := time.Until(moment); left > 0; left = time.Until(moment) {
			r.failOne()
			r.person.act()
			if time.Now().After(change) {
				r.changeKagent()
				change = moment
			}
			time.Sleep(min(150*time.Millisecond, time.Until(moment))) // this is the moment, not a condition
		}
		r.stopOnce()
		switch r.random.IntN(4) {
		case 0:
			r.changeKagent()
		case 1:
			r.changeUser()
		}
		r.start()
		r.res.runs++
	}
}

func (r *restless) changeKagent() {
	all := agent.Dialects()
	r.kagent.SetDialect(all[r.random.IntN(len(all))])
	r.was++
}

func (r *restless) changeUser() {
	r.was++
	if r.user == firstUser {
		r.user = secondUser
		return
	}
	r.user = firstUser
}

// userTurn is for how long khook is one user in the end, where there are tasks of another one: they take up its agent, and only who they are
// of can bring them to their end.
const userTurn = 12 * time.Second

// judge waits until all is over and holds the history against what was done to the Pods, and what agents got against it.
func (r *restless) judge() result {
	t := r.t
	deliveries := r.untilFinished()
	r.khook.kill()
	for _, d := range deliveries {
		if want := endsOf(d); d.State != want && !notKnown(d) || d.State == delivery.Succeeded && d.Outcome != delivery.OutcomeRecovered {
			t.Errorf("delivery of %s is %s %s, want %s: %s", d.Group, d.State, d.Outcome, want, d.Error)
		}
	}
	check := &callCheck{TB: t, changed: r.was > 0}
	check.all(deliveries, r.kagent.Messages())
	got := checkHistory(t, r.file, r.ns, map[incident.EventType]int{incident.OOMKill: len(r.failed), incident.PodRestart: len(r.failed)})
	r.res.callSums, r.res.lost = check.callSums, max(0, 2*len(r.failed)-got)
	r.res.again = r.person.again
	r.res.failed = t.Failed()
	r.res.differs = r.res.failed
	t.Logf("%d stops, %d changes, %d Pods failed, %d incidents, %+v", r.res.runs, r.was, len(r.failed), got, r.res.callSums)
	return r.res
}

// untilFinished makes kagent what it was, and waits until all is over: as the one user, and as the other where that is needed.
func (r *restless) untilFinished() (deliveries []*delivery.Delivery) {
	r.kagent.SetDialect(r.res.dialect)
	since := time.Now()
	err := poll(8*time.Minute, 200*time.Millisecond, func() error {
		r.person.act()
		deliveries = readDeliveries(r.t, r.file)
		hidden, err := unfinished(deliveries)
		if err == nil {
			return mustEqual(len(deliveries), len(r.failed), "deliveries")
		}
		if hidden && time.Since(since) > userTurn {
			r.khook.kill()
			r.changeUser()
			r.start()
			since = time.Now()
		}
		return err
	})
	if err != nil {
		r.t.Errorf("waited in vain until all outcomes are known: %v", err)
	}
	return deliveries
}

// unfinished says what is not over yet, and whether kagent hides a task from who khook is.
func unfinished(deliveries []*delivery.Delivery) (hidden bool, err error) {
	for _, d := range deliveries {
		hidden = hidden || !d.State.Ended() && outOfSight(d)
		if !d.State.Ended() || !d.VerifyUntil.IsZero() && d.Outcome == "" {
			err = fmt.Errorf("delivery of %s is %s %s: %s", d.Group, d.State, d.Outcome, d.Error)
		}
	}
	return hidden, err
}

// endsOf is how a delivery ends of which all is known.
func endsOf(d *delivery.Delivery) delivery.State {
	if worksForEver(d.Group) {
		return delivery.Canceled
	}
	return delivery.Succeeded
}
