package system

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/agent/kagenttest"
	"github.com/kagent-dev/khook/internal/delivery"
)

// torture is full when KHOOK_TORTURE says so: every point and 740 random moments; else a few of them.
// KHOOK_TORTURE_EVERY takes only one in so many, KHOOK_TORTURE_SEED repeats the choice of a run.
var torture = struct {
	full  bool
	every int
	seed  uint64
}{os.Getenv("KHOOK_TORTURE") == "full", max(1, number("KHOOK_TORTURE_EVERY")), uint64(number("KHOOK_TORTURE_SEED"))}

func number(variable string) int {
	n, _ := strconv.Atoi(os.Getenv(variable))
	return n
}

// chance is the source of what is chosen at random; the log says how to choose the same again.
func chance(t testing.TB) *rand.Rand {
	t.Helper()
	seed := torture.seed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano() % 1_000_000)
	}
	t.Logf("KHOOK_TORTURE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// triedDialects are all of them, one in a run that is not full, or the one that KHOOK_TORTURE_DIALECT names.
func triedDialects(random *rand.Rand) []string {
	all := agent.Dialects()
	if one := os.Getenv("KHOOK_TORTURE_DIALECT"); one != "" {
		return []string{one}
	}
	if !torture.full {
		return []string{all[random.IntN(len(all))]}
	}
	return all
}

// trial is one thing that is tried: a fault at a point of a scene, in a dialect.
type trial struct {
	dialect string
	scene   *scene // nil for random moments
	fault   string
	point   string
}

func (tr trial) String() string {
	if tr.scene == nil {
		return tr.dialect + "/" + tr.fault
	}
	return strings.Join([]string{tr.dialect, tr.scene.name, tr.fault, tr.point}, "/")
}

// undisturbed is what a run without a fault comes to.
type undisturbed struct {
	history *historyText
	points  []string
}

// TestWhereverItIsStoppedTheHistoryIsTheSameAndNobodyIsCalledTwice stops khook at the points between
// the sight of a failure and the outcome of its delivery, each in a run of its own, and compares with
// a run that nobody disturbed.
func TestWhereverItIsStoppedTheHistoryIsTheSameAndNobodyIsCalledTwice(t *testing.T) {
	random := chance(t)
	var trials []trial
	baselines := map[*scene]map[string]*undisturbed{failures: {}, asking: {}}
	for _, dialect := range triedDialects(random) {
		for _, sc := range []*scene{failures, asking} {
			base := runUndisturbed(t, sc, dialect)
			baselines[sc][dialect] = base
			tortureReport.points(sc, dialect, base.points)
			trials = append(trials, trialsOf(sc, dialect, base.points, random)...)
		}
	}
	if torture.full {
		trials = spread(trials, (len(trials)+torture.every-1)/torture.every, random)
	}
	t.Logf("%d trials", len(trials))
	t.Run("at", func(t *testing.T) {
		for _, tr := range trials {
			t.Run(tr.String(), func(t *testing.T) {
				t.Parallel()
				base := baselines[tr.scene][tr.dialect]
				res := try(t, tr, base)
				if !res.reached { // what happens at once is told in one step or in two
					res = try(t, tr, base)
					res.runs++
				}
				tortureReport.result(res)
			})
		}
	})
}

// trialsOf are the trials of a scene in a dialect.
//
// In full: SIGKILL at all points of the failures, and the other faults at all where the dialect can make a difference, which are commits of
// deliveries and requests to kagent; at each other point they are tried with one dialect. Of what people do SIGKILL at all points where the
// dialect can make a difference, and one of the other faults. At all these points of both one of the changes of kagent, or of khook's user.
//
// A run that is not full tries a dozen faults, spread over the points of the failures, each change once, and a reply, an approval and a
// cancel.
func trialsOf(sc *scene, dialect string, names []string, random *rand.Rand) []trial {
	if !torture.full {
		return fewTrials(sc, dialect, names, random)
	}
	var all []trial
	for i, point := range names {
		for _, fault := range faultsAt(sc, i, point, dialect) {
			all = append(all, trial{dialect, sc, fault, point})
		}
	}
	return all
}

// faultsAt are what is tried at the point with a number.
func faultsAt(sc *scene, i int, point, dialect string) []string {
	round := i/2 + i%2*3 + slices.Index(agent.Dialects(), dialect) // so that the points before and after something differ, and the dialects
	matters := dialectMatters(point)
	var tried []string
	switch {
	case sc.people && !matters:
		return nil
	case sc.people:
		tried = []string{killed, faults[1+round%(len(faults)-1)]}
	case matters || round%len(agent.Dialects()) == 0:
		tried = slices.Clone(faults)
	default:
		tried = []string{killed}
	}
	if matters {
		tried = append(tried, changesOfPeers[round%len(changesOfPeers)])
	}
	return slices.DeleteFunc(tried, func(fault string) bool { return locksOut(fault, point) })
}

func dialectMatters(point string) bool {
	return strings.HasPrefix(point, "kagent ") || strings.HasPrefix(point, "commit of a delivery")
}

// locksOut says whether a process that is halted there keeps the history locked, so that nobody else could do the work.
func locksOut(fault, point string) bool {
	return fault == returned && strings.HasPrefix(point, "commit ") && strings.HasSuffix(point, beforePoint)
}

// few are the faults of a run that is not full, point by point: those that take long are fewer.
var few = []string{killed, deposed, killed, terminated, killed, terminated, returned, killed}

func fewTrials(sc *scene, dialect string, names []string, random *rand.Rand) []trial {
	var all []trial
	if sc.people {
		first := random.IntN(3)
		for i, what := range []string{" reply#1 ", " reply#2 ", "ancel"} { // a question, an approval, a request to stop
			at := slices.DeleteFunc(slices.Clone(names), func(point string) bool { return !strings.Contains(point, what) })
			all = append(all, trial{dialect, sc, []string{killed, deposed, upgraded}[(first+i)%3], at[random.IntN(len(at))]})
		}
		return all
	}
	for i, point := range names {
		if fault := few[i%len(few)]; !locksOut(fault, point) {
			all = append(all, trial{dialect, sc, fault, point})
		}
	}
	all = spread(all, 12, random)
	matter := slices.DeleteFunc(slices.Clone(names), func(point string) bool { return !dialectMatters(point) })
	for _, change := range changesOfPeers {
		all = append(all, trial{dialect, sc, change, matter[random.IntN(len(matter))]})
	}
	return all
}

// spread takes n of all, about as far from each other as they can be.
func spread[T any](all []T, n int, random *rand.Rand) []T {
	if n >= len(all) {
		return all
	}
	var some []T
	step := float64(len(all)) / float64(n)
	for i := range n {
		some = append(some, all[int(step*(float64(i)+random.Float64()))])
	}
	return some
}

func runUndisturbed(t *testing.T, sc *scene, dialect string) *undisturbed {
	t.Helper()
	s := newScenario(t, sc, dialect, "")
	k := keep(s, "", "")
	k.leads()
	s.playAll()
	k.end()
	h, err := s.read()
	if err != nil || len(s.vain)+len(k.wrong) > 0 {
		t.Fatalf("the undisturbed run: %v %q %q", err, s.vain, k.wrong)
	}
	if len(h.incidents) != sc.comesTo.incidents || len(h.deliveries) != sc.comesTo.deliveries || h.events != sc.comesTo.events || len(k.procs) != 1 {
		t.Fatalf("the undisturbed run is not what it should be: %s", strings.Join(h.lines, "\n"))
	}
	if calls := checkCalls(t, s, k, h); calls.notKnown+calls.again > 0 {
		t.Errorf("in an undisturbed run it is always known what arrived: %+v", calls)
	}
	t.Logf("undisturbed, %s, %s:\n%s", sc.name, dialect, strings.Join(h.lines, "\n"))
	base := &undisturbed{history: h}
	for _, p := range readPoints(k.files[0]) {
		base.points = append(base.points, p.point)
	}
	t.Logf("%d points: %s", len(base.points), strings.Join(base.points, ", "))
	return base
}

// try tries one thing and says what came of it.
func try(t *testing.T, tr trial, base *undisturbed) result {
	s := newScenario(t, tr.scene, tr.dialect, tr.fault)
	k := keep(s, tr.fault, tr.point)
	k.leads()
	s.playAll()
	k.end()
	res := result{trial: tr, reached: k.reached(), runs: 1}
	if !res.reached {
		t.Logf("the point was not reached in this run")
	}
	for _, why := range append(s.vain, k.wrong...) {
		t.Error(why)
	}
	h, err := s.read()
	if err != nil {
		t.Fatal(err)
	}
	if lost := h.lost(base.history); len(lost) > 0 {
		res.lost = len(lost)
		t.Errorf("incidents lost: %q", lost)
	}
	want, got := base.history.lines, h.lines
	if k.changes.made { // of a message that another kagent, or another user of it, can't be asked about
		want, got = h.without(want, notKnown), h.without(got, notKnown)
	}
	if k.replicated() { // a slow machine takes longer to change leaders than the Pods to recover
		want, got = h.without(want, overMeanwhile), h.without(got, overMeanwhile)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		res.differs = true
		t.Errorf("the history differs from that of an undisturbed run:\n%s", diff)
	}
	res.callSums = checkCalls(t, s, k, h)
	s.notices.check(t)
	res.failed = t.Failed()
	return res
}

// without are the lines but those of deliveries of which that is so.
func (h *historyText) without(lines []string, so func(*delivery.Delivery) bool) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return slices.ContainsFunc(h.deliveries, func(d *delivery.Delivery) bool { return so(d) && strings.HasPrefix(line, h.whose(d)+": ") })
	})
}

// callSums are what became of the messages of a run.
type callSums struct {
	doubled  int // too many
	inHand   int // that left a halted process beside them
	notKnown int // of which khook says, and can't know better, that it does not know whether they arrived
	again    int // questions that a person answered again, because the answer was lost
}

// checkCalls holds what agents got against the deliveries: each one message, with what its row says, and the same ID and
// context however often it was sent; and each question one reply.
func checkCalls(t testing.TB, s *scenario, k *supervisor, h *historyText) callSums {
	t.Helper()
	c := &callCheck{TB: t, halted: k.inHand(), changed: k.changes.made}
	c.all(h.deliveries, s.kagent.Messages())
	for id, sessions := range k.sends() {
		if c.byID[id] == nil || len(slices.Compact(slices.Sorted(slices.Values(sessions)))) != 1 && k.changes.to == "" {
			t.Errorf("message %s was sent in contexts %q, and its delivery is %v", id, sessions, c.byID[id])
		}
	}
	if k.person != nil {
		c.again = k.person.again
	}
	return c.callSums
}

// callCheck is checkCalls at work.
type callCheck struct {
	testing.TB
	halted  map[string]bool               // messages that a halted process had in its hands
	changed bool                          // kagent, or khook's user there, has changed
	got     map[string]int                // runs by message ID
	byID    map[string]*delivery.Delivery // by the IDs of their messages and replies
	callSums
}

func (c *callCheck) all(deliveries []*delivery.Delivery, messages []kagenttest.Message) {
	c.Helper()
	c.got, c.byID = map[string]int{}, map[string]*delivery.Delivery{}
	for _, d := range deliveries {
		for _, id := range append(repliesOf(d), d.MessageID()) {
			c.byID[id] = d
		}
	}
	for _, m := range messages {
		c.message(m)
	}
	for _, d := range deliveries {
		c.delivery(d)
	}
}

func (c *callCheck) message(m kagenttest.Message) {
	c.Helper()
	d := c.byID[m.ID]
	if d == nil {
		c.Errorf("an agent got message %s, of no delivery: %s", m.ID, m.Text)
		c.doubled++
		return
	}
	switch c.got[m.ID]++; {
	case c.got[m.ID] == 1:
	case c.got[m.ID] == 2 && c.halted[m.ID]:
		c.inHand++
	default:
		c.Errorf("the agent got the message of %s %d times", d.Group, c.got[m.ID])
		c.doubled++
	}
	switch {
	case m.Reply:
		if m.TaskID != d.TaskID {
			c.Errorf("the reply of %s reached task %s, and its task is %s", d.Group, m.TaskID, d.TaskID)
		}
	case m.Text != d.Prompt || !sameJSON(m.Data, []byte(d.Data)) || d.ContextID != m.ContextID && !notKnown(d):
		c.Errorf("the agent got %q, %s in context %s; recorded is %q, %s in %s", m.Text, m.Data, m.ContextID, d.Prompt, d.Data, d.ContextID)
	case m.ClientContext && m.ContextID != d.SessionID():
		c.Errorf("the message of %s is in context %s, want %s", d.Group, m.ContextID, d.SessionID())
	}
}

func (c *callCheck) delivery(d *delivery.Delivery) {
	c.Helper()
	if notKnown(d) {
		if c.notKnown++; !c.changed && !overMeanwhile(d) {
			c.Errorf("khook says of %s that it does not know whether the message arrived, and could know it", d.Group)
		}
		return
	}
	if c.got[d.MessageID()] == 0 {
		c.Errorf("no agent got the message of %s", d.Group)
	}
	var replies int
	for _, id := range repliesOf(d) {
		replies += min(c.got[id], 1)
	}
	if replies != 1 && asksAPerson(d.Group) || replies != 0 && !asksAPerson(d.Group) {
		c.Errorf("the agent of %s got %d replies; people gave %d", d.Group, replies, d.Replies)
		c.doubled += max(0, replies-1)
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// result is what came of a trial, or of many random ones.
type result struct {
	trial
	callSums
	runs, lost               int
	reached, differs, failed bool
}

// String is for the log.
func (r result) String() string {
	return fmt.Sprintf("%s: reached %t, lost %d, doubled %d, in hand %d, not known %d, answered again %d, differs %t",
		r.trial, r.reached, r.lost, r.doubled, r.inHand, r.notKnown, r.again, r.differs)
}
