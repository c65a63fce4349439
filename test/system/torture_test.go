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
	"github.com/kagent-dev/khook/internal/delivery"
)

// torture is full when KHOOK_TORTURE says so: every point and 500 random moments; else a few of them.
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

// trial is one thing that is tried: a fault at a point, in a dialect.
type trial struct{ dialect, fault, point string }

func (tr trial) String() string { return tr.dialect + "/" + tr.fault + "/" + tr.point }

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
	dialects := agent.Dialects()
	if !torture.full {
		dialects = []string{dialects[random.IntN(len(dialects))]}
	}
	if one := os.Getenv("KHOOK_TORTURE_DIALECT"); one != "" {
		dialects = []string{one}
	}
	var trials []trial
	baselines := map[string]*undisturbed{}
	for _, dialect := range dialects {
		base := runUndisturbed(t, dialect)
		baselines[dialect] = base
		tortureReport.points(dialect, base.points)
		trials = append(trials, trialsOf(dialect, base.points, random)...)
	}
	t.Logf("%d trials", len(trials))
	t.Run("at", func(t *testing.T) {
		for _, tr := range trials {
			t.Run(tr.String(), func(t *testing.T) {
				t.Parallel()
				res := try(t, tr, baselines[tr.dialect])
				if !res.reached { // what happens at once is told in one step or in two
					res = try(t, tr, baselines[tr.dialect])
					res.runs++
				}
				tortureReport.result(res)
			})
		}
	})
}

// trialsOf are SIGKILL at all points, and the other faults at all where the dialect can make a
// difference: commits of deliveries and requests to kagent. At each other point they are tried with one
// dialect. A run that is not full tries a dozen, spread over the points.
func trialsOf(dialect string, names []string, random *rand.Rand) []trial {
	var all []trial
	for i, point := range names {
		for _, fault := range faultsAt(i, point, dialect) {
			all = append(all, trial{dialect, fault, point})
		}
	}
	if torture.full {
		return spread(all, (len(all)+torture.every-1)/torture.every, random)
	}
	return spread(all, 12, random)
}

// few are the faults of a run that is not full, point by point: those that take long are fewer.
var few = []string{killed, deposed, killed, terminated, killed, terminated, returned, killed}

func faultsAt(i int, point, dialect string) []string {
	chosen := faults
	if !torture.full {
		chosen = few[i%len(few):][:1]
	}
	mine := agent.Dialects()[i%len(agent.Dialects())] == dialect ||
		strings.HasPrefix(point, "kagent ") || strings.HasPrefix(point, "commit of a delivery")
	var tried []string
	for _, fault := range chosen {
		switch {
		case torture.full && fault != killed && !mine:
		case fault == returned && strings.HasPrefix(point, "commit ") && strings.HasSuffix(point, beforePoint):
			// It keeps the history locked: nobody else could do the work.
		default:
			tried = append(tried, fault)
		}
	}
	return tried
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

func runUndisturbed(t *testing.T, dialect string) *undisturbed {
	t.Helper()
	s := newScenario(t, dialect)
	k := keep(s, "", "")
	k.leads()
	s.play()
	k.end()
	h, err := s.read()
	if err != nil || len(s.vain)+len(k.wrong) > 0 {
		t.Fatalf("the undisturbed run: %v %q %q", err, s.vain, k.wrong)
	}
	if len(h.incidents) != sceneIncidents || len(h.deliveries) != sceneDeliveries || len(k.procs) != 1 {
		t.Fatalf("the undisturbed run is not what it should be: %s", strings.Join(h.lines, "\n"))
	}
	checkCalls(t, s, k, h)
	t.Logf("undisturbed, %s:\n%s", dialect, strings.Join(h.lines, "\n"))
	base := &undisturbed{history: h}
	for _, p := range readPoints(k.files[0]) {
		base.points = append(base.points, p.point)
	}
	t.Logf("%d points: %s", len(base.points), strings.Join(base.points, ", "))
	return base
}

// try tries one thing and says what came of it.
func try(t *testing.T, tr trial, base *undisturbed) result {
	s := newScenario(t, tr.dialect)
	k := keep(s, tr.fault, tr.point)
	k.leads()
	s.play()
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
	if diff := cmp.Diff(base.history.lines, h.lines); diff != "" {
		res.differs = true
		t.Errorf("the history differs from that of an undisturbed run:\n%s", diff)
	}
	res.doubled, res.inHand = checkCalls(t, s, k, h)
	res.failed = t.Failed()
	return res
}

// checkCalls holds what agents got against the deliveries: each one message, with what its row says,
// and the same ID and context however often it was sent. It returns how many calls there were too
// many, and how many that nobody could keep from leaving a halted process.
func checkCalls(t testing.TB, s *scenario, k *supervisor, h *historyText) (doubled, inHand int) {
	t.Helper()
	byID := map[string]*delivery.Delivery{}
	for _, d := range h.deliveries {
		byID[d.MessageID()] = d
	}
	got := map[string]int{}
	for _, m := range s.kagent.Messages() {
		d := byID[m.ID]
		if d == nil {
			t.Errorf("an agent got message %s, of no delivery: %s", m.ID, m.Text)
			doubled++
			continue
		}
		switch got[m.ID]++; {
		case got[m.ID] == 1:
		case got[m.ID] == 2 && k.inHand()[m.ID]:
			inHand++
		default:
			t.Errorf("the agent got the message of %s %d times", d.Group, got[m.ID])
			doubled++
		}
		if m.Text != d.Prompt || !sameJSON(m.Data, []byte(d.Data)) || d.ContextID != m.ContextID {
			t.Errorf("the agent got %q, %s in context %s; recorded is %q, %s in %s", m.Text, m.Data, m.ContextID, d.Prompt, d.Data, d.ContextID)
		}
		if m.ClientContext && m.ContextID != d.SessionID() {
			t.Errorf("the message of %s is in context %s, want %s", d.Group, m.ContextID, d.SessionID())
		}
	}
	for id, d := range byID {
		if got[id] == 0 {
			t.Errorf("no agent got the message of %s", d.Group)
		}
	}
	for id, sessions := range k.sends() {
		if byID[id] == nil || len(slices.Compact(slices.Sorted(slices.Values(sessions)))) != 1 {
			t.Errorf("message %s was sent in contexts %q, and its delivery is %v", id, sessions, byID[id])
		}
	}
	return doubled, inHand
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// result is what came of a trial, or of many random ones.
type result struct {
	trial
	runs, lost               int
	doubled, inHand          int // calls too many; those that left a halted process beside them
	reached, differs, failed bool
}

// String is for the log.
func (r result) String() string {
	return fmt.Sprintf("%s: reached %t, lost %d, doubled %d, in hand %d, differs %t", r.trial, r.reached, r.lost, r.doubled, r.inHand, r.differs)
}
