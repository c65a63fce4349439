package dispatch

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// outage is a rig in a bubble, where an hour takes no time: a dispatcher and a client with the
// settings that users have, and a kagent with many agents behind a network that fails.
type outage struct {
	*rig
	network *network
	ds      []*delivery.Delivery
	begun   time.Time
}

const (
	outageAgents     = 10
	outageDeliveries = 30
	perAgent         = 5 // deliveries at the same time, by default
)

func newOutage(t *testing.T, opts kagenttest.Options) *outage {
	t.Helper()
	// In a file: a history in memory has locks that readers hold against the commit, which would wait in fake time for what waits in real time.
	st, err := store.Open(t.Context(), store.Config{Engine: pgtest.Engine(t, ":memory:"), Path: filepath.Join(t.TempDir(), "khook.db")})
	if err != nil {
		t.Fatal(err)
	}
	n := newNetwork()
	opts.Listener, opts.MaxRecords = n, 1_000_000
	o := &outage{network: n, begun: time.Now(), rig: &rig{T: t, store: st, kagent: kagenttest.New(t, opts), vanishAfter: time.Minute, cfg: Config{Follow: true}}}
	o.client = func(c *agent.Config) { *c = agent.Config{BaseURL: o.kagent.URL, Transport: n.transport()} }
	t.Cleanup(func() {
		o.halt()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // for what ends at its next tick
	})
	o.start()
	return o
}

// begin makes the deliveries due, and lets some time pass.
func (o *outage) begin(lasts time.Duration) {
	for i := range outageDeliveries {
		o.ds = append(o.ds, o.due(func(d *delivery.Delivery) {
			d.Agent = delivery.AgentRef{Namespace: "kagent", Name: fmt.Sprintf("medic-%d", i%outageAgents)}
		}))
	}
	time.Sleep(lasts)
}

// quiet checks that not more than so many requests a minute were made in the last part of the outage.
func (o *outage) quiet(perMinute int) {
	o.Helper()
	const looked = 20 * time.Minute
	if n := len(o.network.attempts(time.Now().Add(-looked), time.Now())); n > perMinute*int(looked/time.Minute) {
		o.Errorf("%d requests in the last %s of the outage", n, looked)
	}
}

// arrives heals everything, and checks that all deliveries arrive once, without a stampede.
func (o *outage) arrives() {
	o.Helper()
	healed := time.Now()
	o.network.heal()
	o.kagent.Heal()
	time.Sleep(20 * time.Minute)
	for _, d := range o.ds {
		if now := o.now(d); now.State != delivery.Succeeded {
			o.Errorf("delivery of %s is %s: %s", d.Group, now.State, now.Error)
		}
	}
	o.once(o.ds...)
	sent := 0
	for _, r := range o.kagent.Requests(kagenttest.Send) {
		if d := r.At.Sub(healed); d >= 0 && d < time.Second {
			sent++
		}
	}
	if sent > outageDeliveries/2 {
		o.Errorf("%d messages in the first second after the outage, for %d deliveries", sent, outageDeliveries)
	}
	if o.network.most > 2*outageAgents*perAgent { // each delivery may have a stream beside its request
		o.Errorf("%d requests were under way at once", o.network.most)
	}
}

// TestAnOutageOfKagentLosesNothingDoublesNothingAndEndsWithoutAStampede is about real durations: an
// hour of each fault.
func TestAnOutageOfKagentLosesNothingDoublesNothingAndEndsWithoutAStampede(t *testing.T) {
	inject := func(faults ...kagenttest.Fault) func(*outage) {
		return func(o *outage) {
			for _, f := range faults {
				o.kagent.Inject(f)
			}
		}
	}
	for name, tc := range map[string]struct {
		fault     func(*outage)
		lasts     time.Duration
		perMinute int // requests at the end of the outage
	}{
		"refused":                       {func(o *outage) { o.network.fails(errNoListener) }, time.Hour, 30},
		"its name is gone":              {func(o *outage) { o.network.fails(errNameless) }, time.Hour, 30},
		"reset in the middle":           {func(o *outage) { o.network.resets(60) }, 30 * time.Minute, 200},
		"500":                           {inject(kagenttest.Fault{On: kagenttest.Send, Times: -1, Status: 500}), time.Hour, 200},
		"500 after the message arrived": {inject(kagenttest.Fault{On: kagenttest.Send, Times: 40, Accept: true, Status: 500}), time.Hour, 200},
		"503 for all":                   {inject(kagenttest.Fault{Times: -1, Status: 503}), time.Hour, 30},
		"slow by minutes":               {func(o *outage) { o.network.setDelay(3 * time.Minute) }, time.Hour, 60},
		"wrong version of the protocol": {inject(kagenttest.Fault{On: kagenttest.Send, Times: -1, Status: 400, Body: "unsupported A2A version"}), 12 * time.Minute, 200},
	} {
		for _, dialect := range tried() {
			t.Run(name+"/"+dialect, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newOutage(t, kagenttest.Options{Dialect: dialect, Script: acts(kagenttest.Act{Work: 20 * time.Second, Answer: "done"})})
					tc.fault(o)
					o.begin(tc.lasts)
					o.quiet(tc.perMinute)
					o.arrives()
				})
			})
		}
	}
}

// tried are the dialects of a run: one, another one each time, or all where KHOOK_TORTURE is full.
func tried() []string {
	all := agent.Dialects()
	if os.Getenv("KHOOK_TORTURE") == "full" {
		return all
	}
	return []string{all[rand.IntN(len(all))]}
}

// TestNobodyAsksBeforeKagentWantsToBeAsked: what it says in Retry-After is kept.
func TestNobodyAsksBeforeKagentWantsToBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, kagenttest.Options{Script: acts(kagenttest.Act{Answer: "done"})})
		o.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: -1, Status: 429, Header: map[string]string{"Retry-After": "1200"}})
		o.begin(time.Minute)
		asked := len(o.kagent.Requests(kagenttest.Send))
		time.Sleep(18 * time.Minute)
		if n := len(o.kagent.Requests(kagenttest.Send)); n != asked || asked > outageDeliveries {
			t.Errorf("%d messages were sent at first, %d before the time was over", asked, n-asked)
		}
		o.arrives()
	})
}

// TestAnUpgradeWhileDeliveriesAreUnderWayIsSurvived takes kagent away for five minutes, and brings
// another version, while some deliveries wait and some work.
func TestAnUpgradeWhileDeliveriesAreUnderWayIsSurvived(t *testing.T) {
	for _, way := range [][2]string{{agent.Kagent05, agent.Kagent097}, {agent.Kagent097, agent.Kagent10}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutage(t, kagenttest.Options{Dialect: way[0], Script: acts(kagenttest.Act{Work: 2 * time.Minute, Answer: "done"})})
				o.begin(3 * time.Minute) // some have finished, some work, some wait for their agent
				o.network.fails(errNoListener)
				time.Sleep(5 * time.Minute)
				o.kagent.SetDialect(way[1])
				o.arrives()
			})
		})
	}
}

// TestTheCallsOfOneAgentKeepTheirOrderAfterAnOutage: of a group only one delivery is open at a time, so
// its events can't overtake each other; and an agent gets its calls in the order in which they were due.
func TestTheCallsOfOneAgentKeepTheirOrderAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, kagenttest.Options{Script: acts(kagenttest.Act{Answer: "done"})})
		o.halt()
		o.cfg.Concurrency = 1
		o.start()
		time.Sleep(time.Second) // it has begun
		var ds []*delivery.Delivery
		for range 20 {
			ds = append(ds, o.due())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		at := map[string]int{}
		for i, m := range o.kagent.Messages() {
			at[m.ID] = i
		}
		for i, d := range ds {
			if at[d.MessageID()] != i {
				t.Errorf("delivery %d was called as number %d", i, at[d.MessageID()])
			}
		}
	})
}

// TestThoseThatFailedTogetherDoNotComeBackTogether: jitter spreads them, whoever they are for.
func TestThoseThatFailedTogetherDoNotComeBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, kagenttest.Options{Script: acts(kagenttest.Act{Answer: "done"})})
		o.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: outageDeliveries, Status: 500})
		o.begin(0)
		begun := time.Now()
		time.Sleep(30 * time.Second)
		at := map[time.Duration]int{}
		for _, r := range o.kagent.Requests(kagenttest.Send) {
			if after := r.At.Sub(begun); after > 500*time.Millisecond {
				at[after.Truncate(20*time.Millisecond)]++
			}
		}
		for after, n := range at {
			if n > outageDeliveries/3 {
				t.Errorf("%d of %d come back %s later, at the same moment", n, outageDeliveries, after)
			}
		}
		o.arrives()
	})
}

// TestWhatAnAgentNamesATimeForHoldsForItsOtherCallsToo: also for those that become due meanwhile. Other agents are called.
func TestWhatAnAgentNamesATimeForHoldsForItsOtherCallsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage(t, kagenttest.Options{Script: acts(kagenttest.Act{Answer: "done"})})
		o.kagent.Inject(kagenttest.Fault{On: kagenttest.Send, Times: 1, Status: 429, Header: map[string]string{"Retry-After": "1200"}})
		o.ds = append(o.ds, o.due())
		time.Sleep(time.Minute)
		for range 5 {
			o.ds = append(o.ds, o.due())
		}
		other := o.due(func(d *delivery.Delivery) { d.Agent.Name = "another" })
		time.Sleep(18 * time.Minute)
		if now := o.now(other); now.State != delivery.Succeeded {
			t.Errorf("the call of another agent is %s", now.State)
		}
		if n := len(o.kagent.Requests(kagenttest.Send)); n != 2 {
			t.Errorf("%d messages before the time was over", n-1)
		}
		o.arrives()
	})
}
