//go:build attack

// Package attack does to khook what its users' enemies would: it is attacked over the network, with
// hostile Hooks, Pods, Events and agents, while valid users read and Pods fail.
//
// khook is the real program, in a process of its own, in the memory that the chart gives it, on a real
// API server. All that is attacked was started by this package, and listens on the loopback address.
//
// "make attack" runs all of it and writes what came out into docs/security.md; "make attack-short" is
// the same with smaller numbers, for CI. KHOOK names the program; KHOOK_ATTACK is short or full.
package attack

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// attack is one way to harm khook, and a row of the table.
type attack struct {
	name  string // unique, in the words of docs/security.md
	tried string // what is done, in a sentence
	run   func(*assault)
	// undo removes from the cluster what would keep a khook that died from starting again.
	undo func(*site)
}

// attacks are in the order in which they are made: each meets the history that the ones before left.
func attacks() []attack {
	return []attack{
		http2WithoutTLS, promptBombsValidated, promptBombsApplied, idleConnections, slowUploads,
		crowdOfStreams, gluttonousAgents, refusedRequests, randomTokens, randomTokensWhileReviewsAreSlow,
		filterMessages, manyValidations, costlyExpressions, stormOfGroups, rowThatCannotBeSaved,
		historyOfOthers, rebinding, foreignTexts, readingWithoutToken, impossibleTokens, hostileEvents,
		hostilePods, oddRequests,
	}
}

// full says whether the attacks have the numbers of the full form.
func full() bool { return os.Getenv("KHOOK_ATTACK") != "short" }

// assault is one attack under way.
type assault struct {
	*testing.T
	*site
	ctx   context.Context //nolint:containedctx // of this attack
	notes []string
}

// Context ends with the attack, at its limit at the latest.
func (a *assault) Context() context.Context { return a.ctx }

// size is the number of something in this form of the suite.
func (a *assault) size(inShort, inFull int) int {
	if full() {
		return inFull
	}
	return inShort
}

// note adds a finding to the attack's row.
func (a *assault) note(format string, args ...any) {
	a.notes = append(a.notes, fmt.Sprintf(format, args...))
}

// attackLimit bounds one attack, in which all else has limits of its own.
const attackLimit = 5 * time.Minute

func TestAttacks(t *testing.T) {
	ctrllog.SetLogger(logr.Discard()) // of controller-runtime's client
	s := newSite(t)
	rep := newReport(s)
	users := newUsers(t, s)
	for _, at := range attacks() {
		t.Run(at.name, func(t *testing.T) { rep.add(s.suffer(t, at, users)) })
	}
	users.leave()
	if err := rep.write(); err != nil {
		t.Error(err)
	}
}

// suffer lets khook be attacked while valid users read and Pods fail, and judges what they noticed.
func (s *site) suffer(t *testing.T, at attack, users *userLoad) reportRow {
	s.revive(t)
	r := reportRow{attack: at, deaths: s.deaths.Load()}
	s.forgetPeak()
	before := users.tally()
	fails := s.beginFailures(t)
	a := s.attempt(t, at.run)
	fails.end()
	if at.undo != nil {
		at.undo(s)
	}
	s.revive(t)
	r.lag = fails.judge(t)
	users.settle(t)
	r.peak, r.cost, r.notes = s.peakMemory(), users.tally().since(before), a.notes
	r.deaths = s.deaths.Load() - r.deaths
	if r.deaths > 0 {
		t.Errorf("khook died %d times: %s", r.deaths, s.lastDeath())
	}
	if wrong := r.cost.wrong(); wrong != "" {
		t.Errorf("valid users got what was wrong: %s", wrong)
	}
	r.failed = t.Failed()
	t.Logf("%s", r)
	return r
}

// attempt runs an attack, which may end itself by Fatal or Skip, and whose context ends at the limit.
func (s *site) attempt(t *testing.T, run func(*assault)) *assault {
	a := &assault{site: s}
	ctx, cancel := context.WithTimeout(t.Context(), attackLimit)
	defer cancel()
	t.Run("attack", func(t *testing.T) {
		a.T, a.ctx = t, ctx
		run(a)
	})
	if ctx.Err() != nil {
		t.Errorf("the attack was not over after %s", attackLimit)
	}
	return a
}
