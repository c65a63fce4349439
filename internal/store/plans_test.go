package store

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/notice"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// everything uses all that the store can do, so that all its statements are prepared.
func everything(t *testing.T, st *Store) {
	t.Helper()
	ctx := t.Context()
	var inc *incident.Incident
	must(t, st.Write(ctx, func(tx *Tx) error {
		var c *Changes
		inc, c = recordFor(tx, "k", long, 2)
		inc.CausedBy = "another"
		c.Deliveries = []*delivery.Delivery{due(inc, delivery.Succeeded)}
		must(t, tx.Save(ctx, c))
		_, err := tx.GroupDeliveries(ctx, shopGroup, 10)
		_, again := tx.CountDeliveries(ctx, shopHook, "pod-restart", long, 10)
		_, more := tx.KnownKeys(ctx, []string{"k 0"})
		must(t, everythingOfDeliveries(ctx, tx, c.Deliveries[0]))
		inc.Resolve(incident.Recovered, inc.LastSeen)
		return errors.Join(err, again, more, tx.Save(ctx, &Changes{Incidents: []*incident.Incident{inc}, Decisions: c.Decisions}))
	}))
	ids, id := []string{inc.ID}, "delivery of k"
	var errs []error
	note := func(_ any, err error) { errs = append(errs, err) }
	note(st.OpenIncidents(ctx))
	note(st.Incident(ctx, inc.ID))
	note(st.Incidents(ctx, ids))
	note(st.IncidentEffects(ctx, []string{"another"}))
	note(st.IncidentEvents(ctx, inc.ID, 10))
	note(st.Delivery(ctx, id))
	note(st.DeliveryIncidents(ctx, id, 10))
	note(st.DeliveryEvents(ctx, id))
	note(st.Aftermath(ctx, id, long))
	failure := delivery.Failure{Type: inc.Type, Namespace: "shop", Workload: inc.Workload}
	note(st.FailedAnew(ctx, failure, long, long))
	note(st.FirstFailure(ctx, failure, long, long))
	note(st.LastRecovery(ctx, id, failure, long))
	note(st.DeliveryEntries(ctx, id))
	note(st.OpenIncidentsOf(ctx, id))
	note(st.HeldGroups(ctx, shopHook, long, 10))
	note(st.HeldGroups(ctx, delivery.HookRef{}, long, 10))
	note(st.HeldGroupsFrom(ctx, shopGroup, long, 10))
	note(st.QuietIncidents(ctx, long, 10))
	note(st.Reader().IncidentDecisions(ctx, inc.ID, 10))
	note(st.DeliveriesOfIncidents(ctx, ids))
	note(st.DeliveryIDsOfIncidents(ctx, ids))
	note(st.UnfinishedDeliveries(ctx, long, 10))
	note(st.Unfinished(ctx))
	note(st.Stalled(ctx))
	note(st.StalledDeliveries(ctx, shopHook, 10))
	note(st.AskingDeliveries(ctx, shopHook, 2))
	note(st.Reader().AgentDeliveries(ctx, AgentQuery{From: long, To: long.Add(time.Hour), Limit: 10}))
	note(st.Reader().AgentDeliveries(ctx, AgentQuery{Namespace: shopHook.Namespace, From: long, To: long.Add(time.Hour), Limit: 10}))
	note(st.HeldForPerson(ctx, shopHook.Namespace, long, 10))
	note(st.HeldForPerson(ctx, "", long, 10))
	everythingOfNotices(t, st, inc)
	note(st.OldestPending(ctx))
	note(st.HookIncidents(ctx, shopHook, long, 10))
	open, fired, err := st.HookSummary(ctx, shopHook)
	if note(nil, err); open != 0 || !fired.Equal(long) {
		t.Errorf("%d open, fired at %s", open, fired)
	}
	note(st.IncidentHooks(ctx, ids))
	note(st.AllIncidents(ctx, 10))
	note(st.AllDeliveries(ctx, 10))
	note(st.LastChange(ctx))
	_, _, err = st.StoryChanges(ctx, StoryKinds{Incidents: true, Deliveries: true}, 0, 100, 10)
	note(nil, err)
	note(st.Reader().EventCounts(ctx, long, time.Now(), "shop"))
	everythingOfDeadLetters(t, st)
	note(nil, st.Check(ctx))
	note(st.Prune(ctx, time.Now()))
	must(t, errors.Join(errs...))
}

func everythingOfNotices(t *testing.T, st *Store, inc *incident.Incident) {
	t.Helper()
	ctx := t.Context()
	line := &notice.Line{Notice: notice.OfIncident(inc), Notifier: "oncall", State: notice.Waiting, DueAt: long}
	must(t, st.Write(ctx, func(tx *Tx) error {
		return errors.Join(tx.KeepNotifiers(ctx, []string{"oncall"}), tx.KeepNotifiers(ctx, nil), tx.PutNotices(ctx, "oncall", 1, []*notice.Line{line}), tx.SaveNotices(ctx, []*notice.Line{line}))
	}))
	waiting, err := st.WaitingNotices(ctx, "oncall", 10)
	if must(t, err); len(waiting) != 1 || waiting[0].ID != line.ID {
		t.Errorf("%+v", waiting)
	}
	_, counted := st.CountWaitingNotices(ctx, "oncall")
	_, ofMessage := st.NoticesOfMessage(ctx, "oncall", "m", 10)
	_, _, read := st.NoticesReadUpTo(ctx, "oncall")
	_, changed := st.ChangedDeliveries(ctx, 0, 100)
	_, waits := st.WaitingDeliveries(ctx, 10)
	_, uncalled := st.UncalledOpen(ctx, "oncall", long, UncalledMatch{}, 10)
	_, matched := st.UncalledOpen(ctx, "oncall", long, UncalledMatch{Namespaces: []string{"shop"}, Types: []incident.EventType{incident.OOMKill}}, 10)
	_, called := st.Called(ctx, inc.ID)
	_, told := st.Reader().NoticesOfIncident(ctx, inc.ID, 10)
	_, group := st.GroupState(ctx, shopGroup)
	must(t, errors.Join(counted, ofMessage, read, changed, waits, uncalled, matched, called, told, group))
}

func everythingOfDeadLetters(t *testing.T, st *Store) {
	t.Helper()
	ctx := t.Context()
	letter := incident.NewDeadLetter(incident.Origin{}, incident.Signal{Key: "k", Kind: incident.Observed}, incident.BadSize, errors.New("too large"), long)
	must(t, st.Write(ctx, func(tx *Tx) error {
		_, err := tx.PutDeadLetter(ctx, letter)
		return errors.Join(err, tx.DropDeadLetter(ctx, "another"))
	}))
	_, known := st.KnownKeys(ctx, []string{"k 0"})
	_, all := st.DeadLetters(ctx, 10)
	_, wanted := st.WantedDeadLetters(ctx, 10)
	_, counted := st.CountDeadLetters(ctx)
	_, replayed := st.ReplayDeadLetters(ctx)
	_, one := st.ReplayDeadLetters(ctx, letter.ID)
	_, dropped := st.DropDeadLetters(ctx, letter.ID)
	_, rest := st.DropDeadLetters(ctx)
	must(t, errors.Join(known, all, wanted, counted, replayed, one, dropped, rest, st.Probe(ctx)))
}

func everythingOfDeliveries(ctx context.Context, tx *Tx, d *delivery.Delivery) error {
	state, err := tx.GroupState(ctx, shopGroup)
	state.Hold, state.HoldEnds = delivery.OverBudget, long.Add(time.Hour)
	_, inAll := tx.CountDeliveries(ctx, delivery.HookRef{}, "", long, 10)
	_, ofHook := tx.OldestDelivery(ctx, shopHook, "", long, 10)
	_, spent := tx.TokensSpent(ctx, shopHook, long, 10)
	_, known := tx.Delivery(ctx, d.ID)
	_, open := tx.OpenIncidents(ctx, d.ID)
	_, calls := tx.WorkloadCalls(ctx, shopHook, "pod-restart", "Deployment/cart", long, 10)
	_, newest := tx.NewestIncident(ctx, incident.ProblemKey{UID: "u", Type: incident.PodRestart, Container: "app"})
	groups := []delivery.GroupKey{shopGroup, shopGroup, shopGroup, shopGroup} // several are asked for by other statements than one
	_, ofGroups := tx.GroupsDeliveries(ctx, groups, 10)
	_, states := tx.GroupStates(ctx, groups)
	_, callsOfAll := tx.WorkloadsCalls(ctx, shopHook, "pod-restart", make([]string, 4), long, 10)
	_, newestOfAll := tx.NewestIncidents(ctx, make([]incident.ProblemKey, 4))
	_, coversOfAll := tx.IncidentsCovers(ctx, shopHook, incident.PodRestart, make([]string, 4), long)
	err = errors.Join(err, ofGroups, states, callsOfAll, newestOfAll, coversOfAll)
	skipped := *d
	skipped.ID, skipped.Version, skipped.State, skipped.Skipped = "skipped", 0, delivery.Canceled, delivery.SkipRecovered
	configs := []delivery.Configuration{{Key: "pod-restart", Content: "1", EventType: incident.PodRestart}}
	_, covers := tx.Covers(ctx, shopHook, incident.PodRestart, d.IncidentID, long)
	_, configured := tx.Configurations(ctx, shopHook)
	renamed := tx.RenameConfigurations(ctx, shopHook, []delivery.Renaming{{From: "another", To: "pod-restart"}})
	return errors.Join(err, calls, newest, inAll, ofHook, spent, known, open, covers, configured, renamed, tx.SaveConfigurations(ctx, shopHook, configs), tx.CopyCovers(ctx, d.ID, "another"), tx.Save(ctx, &Changes{
		Deliveries: []*delivery.Delivery{&skipped}, Groups: []*delivery.GroupState{state},
		Entries: []delivery.Entry{{DeliveryID: d.ID, Source: "artifact 1", Kind: delivery.EntryArtifact, At: long, Text: "a"}},
	}))
}

func TestNoStatementReadsAWholeTable(t *testing.T) {
	st := openStore(t, newPath(t))
	everything(t, st)
	queries := statements(st)
	if len(queries) < 40 {
		t.Fatalf("only %d statements were found", len(queries))
	}
	for _, query := range queries {
		for _, step := range planOf(t, st, query) {
			if strings.HasPrefix(query, "DELETE FROM noti") {
				continue // once at a start: notifiers are few, and so is what waits for them
			}
			if slices.Contains([]string{"SCAN going", "SCAN ended", "SCAN counted"}, step) || strings.HasPrefix(step, "SCAN (subquery-") || strings.HasPrefix(step, "SCAN answer") ||
				strings.HasSuffix(step, "-ROW VALUES CLAUSE") {
				continue // what parts of the query found, or what is written
			}
			// In the order of an index, as far as the limit, is as far as is asked for.
			if strings.HasPrefix(step, "SCAN ") && (!strings.Contains(step, " INDEX ") || !strings.Contains(query, "LIMIT ?")) {
				t.Errorf("%s\n  %s", query, step)
			}
			// All of a cluster is nearly all, but for what is open, and for what is stalled.
			if strings.HasSuffix(step, "(cluster=?)") && !strings.Contains(query, "LIMIT ?") && !strings.Contains(step, "_open") && !strings.Contains(step, "_firing") && !strings.Contains(step, "_unfinished") && !strings.Contains(step, "_stalled") {
				t.Errorf("%s\n  %s", query, step)
			}
		}
	}
}

// statements are all that were prepared.
func statements(st *Store) []string {
	return append(slices.Collect(maps.Keys(st.core.stmts.stmts)), slices.Collect(maps.Keys(st.stmts))...)
}

func planOf(t *testing.T, st *Store, query string) []string {
	t.Helper()
	pgtest.OnlySQLite(t) // see plans_postgres_test.go
	args := make([]any, strings.Count(query, "?"))
	for i := range args {
		args[i] = 1
	}
	rows, err := st.core.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+st.cluster.in(query), args...)
	must(t, err)
	steps, err := collect(rows, func(row scanner) (step string, err error) {
		var a, b, c int
		err = row.Scan(&a, &b, &c, &step)
		return step, err
	})
	must(t, err)
	return steps
}

func TestStatementsThatCouldGoTwoWaysGoTheShortOne(t *testing.T) {
	st := openStore(t, newPath(t))
	everything(t, st)
	for part, index := range map[string]string{
		"UPDATE events SET status = 'resolved'":                      "events_firing",
		"outcome = '' AND verify_until > 0":                          "deliveries_unverified",
		"SELECT min(+first_seen) FROM incidents":                     "incidents_workload",
		"END), 0) FROM incidents WHERE cluster = 0 AND workload = ?": "incidents_workload",
		"SELECT count(*) FROM incidents i":                           "incidents_firing",
		"SELECT event_key FROM events":                               "events_key",
		"AS going UNION ALL":                                         "COVERING INDEX incidents_open",
		"AND total_tokens > 0)":                                      "COVERING INDEX deliveries_tokens",
		"AND stalled_since > 0 AND hook_ns":                          "deliveries_stalled_hook",
	} {
		found := false
		for _, query := range statements(st) {
			if !strings.Contains(query, part) {
				continue
			}
			found = true
			if steps := strings.Join(planOf(t, st, query), "\n"); !strings.Contains(steps, index) {
				t.Errorf("%s\n%s", query, steps)
			}
		}
		if !found {
			t.Errorf("no statement has %q", part)
		}
	}
}

// TestOnlyTheEngineKnowsHowAJoinKeepsItsOrder: the store's own statements are for any engine.
func TestOnlyTheEngineKnowsHowAJoinKeepsItsOrder(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		if !strings.HasSuffix(file, "_test.go") && strings.Contains(string(text), "CROSS JOIN") {
			t.Errorf("%s: use engine.JoinInOrder", file)
		}
	}
}
