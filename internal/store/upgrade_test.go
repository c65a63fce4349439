package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

var update = flag.Bool("update", false, "write the histories of earlier schemas in testdata anew")

// sums are the hashes of the migrations that have been released. A file that is here is never changed: histories were
// written by it.
var sums = map[string]string{
	"00001_history.sql":        "999fdca8cd1865a35beb92e2240449f09dc83f4158e0c1bd4cfe6cbe1061bee6",
	"00002_deliveries.sql":     "8fca1f7d481236a230cae12ee3577cb0c7b9a31b37589c1a9b48b03922deb9e7",
	"00003_dead_letters.sql":   "7bed78dde435a530300f92fbc2d142d6217f28aa7d833c644d5eaab2bd23a233",
	"00004_failure.sql":        "a6ac18c8b7c931d083415e14b5f1bc83a31408cca6d8adf791e09d76f7aadeac",
	"00005_names.sql":          "4af1c299594f1e556fa36484cf4dd4c5db15a6d0f6ac0abe441fa4ef73613a8c",
	"00006_configurations.sql": "f7400f01edc4892a3dd3d914b617a9e04a1b8682c6465341b2ab9ed39e85696d",
	"00007_observed.sql":       "158f954f643a24fe5daaff841d9f901191b2d5bb7c98ed20192b99117b87c80a",
	"00008_reopened.sql":       "79863ab197a5cbb206c230cc6f800d67ec46084d5ac70c385513a67dceb42d5c",
	"00009_sent.sql":           "aec76b535c31fae19719bdb02a37c5cab0e2343b59d5d6fce8a616184085c536",
	"00010_outcomes.sql":       "7fca1a39aedc00bc1c319fcaedf35ba1c3d2a08a6e3f10b8b3905bac4a44669d",
	"00011_stalled.sql":        "dc4cd1057d280ff4a9ba2c93bd4981eba0dedc8244cc068332a785638751703e",
	"00012_usage.sql":          "93c44f9c8b1c1232c3b69c5cb11453ae58c1f563b442e91ddf36c2de923ab2ea",
	"00013_pauses.sql":         "970f96f15b82fd917f7bb7b65e7148dfa5a51906def3a2eed39e8eb994d79c8d",
	"00014_notices.sql":        "777557b77b646b2f907a2ed7d0441d71af0014cd62b11ea31bccba6dd809b04d",
	"00015_clusters.sql":       "f36cd751da57d34cf023ef89efb491f4710196a7c62d423cb8c4b135409f9c8b",
	"00016_replicas.sql":       "e0f86ba35e3c51fd668af06c43e6657b5d96c7c321bc712492a4a3d917ac4201",
}

// schemas are the numbers of the released migrations, in order.
func schemas() []int {
	var numbers []int
	for file := range sums {
		var n int
		if _, err := fmt.Sscanf(file, "%d_", &n); err != nil {
			panic(err)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

func TestAMigrationThatHistoriesWereWrittenByIsNeverChanged(t *testing.T) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(files) != len(sums) {
		t.Errorf("%d migrations, and %d are known: %v", len(files), len(sums), err)
	}
	for _, file := range files {
		text, err := migrations.ReadFile(file)
		if got := fmt.Sprintf("%x", sha256.Sum256(text)); err != nil || got != sums[filepath.Base(file)] {
			t.Errorf("%s has the hash %s, want %s: add a migration instead of changing this one", file, got, sums[filepath.Base(file)])
		}
	}
}

// TestAHistoryOfEachEarlierSchemaIsReadAsItWasWritten opens a history that each earlier schema could have, and reads it.
func TestAHistoryOfEachEarlierSchemaIsReadAsItWasWritten(t *testing.T) {
	pgtest.OnlySQLite(t)
	if *update {
		writeEarlierHistories(t)
	}
	for _, schema := range schemas() {
		t.Run(fmt.Sprint("schema ", schema), func(t *testing.T) {
			file := newPath(t)
			earlierHistory(t, file, schema)
			st := openStore(t, file)
			got := readBack(t, st)
			golden := filepath.Join("testdata", fmt.Sprintf("schema-%d.txt", schema))
			if *update {
				must(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Error(diff)
			}
			must(t, save(t.Context(), st, "goes on"))
		})
	}
}

// readBack is what a history says, in full.
func readBack(t *testing.T, st *Store) string {
	t.Helper()
	var b strings.Builder
	incidents, err := st.AllIncidents(t.Context(), 100)
	must(t, err)
	for _, i := range incidents {
		fmt.Fprintf(&b, "incident %s %s %s %s/%s %s %v %s-%s %s %s caused by %q, %d events, %d duplicates\n", i.ID, i.Cluster, i.Type, i.Resource.Namespace, i.Resource.Name, i.Container,
			i.Attributes.PodOrZero(), i.FirstSeen, i.LastSeen, i.Resolution, i.ResolvedAt, i.CausedBy, i.Events, i.Duplicates)
		events, err := st.IncidentEvents(t.Context(), i.ID, 100)
		must(t, err)
		decisions, err := st.Reader().IncidentDecisions(t.Context(), i.ID, 100)
		must(t, err)
		for _, e := range events {
			fmt.Fprintf(&b, "  event %d %s %s %s %s %q %q\n", e.ID, e.Key, e.Type, e.Status, e.At, e.Reason, e.Message)
			fmt.Fprintf(&b, "    %v\n", slices.DeleteFunc(slices.Clone(decisions), func(d delivery.Decision) bool { return d.EventID != e.ID }))
		}
	}
	deliveries, err := st.AllDeliveries(t.Context(), 100)
	must(t, err)
	for _, d := range deliveries {
		d.Version = 0
		plain := *d
		plain.Reply, plain.HeldBack, plain.Sent = nil, nil, nil
		fmt.Fprintf(&b, "delivery %+v\n  sent %+v\n  reply %+v\n  held back %+v\n", plain, d.Sent, d.Reply, d.HeldBack)
		entries, err := st.DeliveryEntries(t.Context(), d.ID)
		must(t, err)
		fmt.Fprintf(&b, "  %+v\n", entries)
	}
	letters, err := st.DeadLetters(t.Context(), 100)
	must(t, err)
	for _, l := range letters {
		fmt.Fprintf(&b, "dead letter %s %s %s %s\n", l.ID, l.Fault, l.Error, l.Signal.Key)
	}
	counts, err := st.Reader().EventCounts(t.Context(), long.Add(-time.Hour), long.Add(24*time.Hour), "")
	must(t, err)
	fmt.Fprintf(&b, "%v\n", counts)
	return b.String()
}

// earlierHistory makes the file of a schema: its tables by the migrations up to it, its rows from testdata.
func earlierHistory(t *testing.T, file string, schema int) {
	t.Helper()
	db := migrated(t, file, schema)
	defer db.Close()
	rows, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("schema-%d.sql", schema)))
	must(t, err)
	_, err = db.ExecContext(t.Context(), string(rows))
	must(t, err)
}

func migrated(t *testing.T, file string, schema int) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	must(t, err)
	db.SetMaxOpenConns(1)
	files, err := fs.Sub(migrations, "migrations")
	must(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	must(t, err)
	_, err = provider.UpTo(t.Context(), int64(schema))
	must(t, err)
	return db
}

// formerNames are the columns of deliveries that had other names before schema 5.
var formerNames = map[string]string{
	"requested_by": "wanted_by", "cancel_requested_by": "cancel_by", "even_if_recovered": "even_recovered", "needs_approval": "approval",
}

// writeEarlierHistories writes the rows of a history of today as each earlier schema could have had them: what it had no
// table or column for is left out.
func writeEarlierHistories(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	today := newPath(t)
	st := openStore(t, today)
	fillAllStates(t, st)
	must(t, st.Close())
	must(t, os.MkdirAll("testdata", 0o755))
	for _, schema := range schemas() {
		db := migrated(t, newPath(t), schema)
		_, err := db.ExecContext(ctx, "ATTACH ? AS today", today)
		must(t, err)
		var b strings.Builder
		for _, table := range texts(t, db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' ORDER BY name") {
			columns := texts(t, db, "SELECT name FROM pragma_table_info('"+table+"')")
			known := texts(t, db, "SELECT name FROM pragma_table_info('"+table+"', 'today')")
			var into, from []string
			for _, c := range known {
				old := c
				if former := formerNames[c]; table == "deliveries" && former != "" && !slices.Contains(columns, c) {
					old = former
				}
				if slices.Contains(columns, old) {
					into, from = append(into, old), append(from, "quote("+c+")")
				}
			}
			if len(from) == 0 {
				continue // a table that there is no more
			}
			for _, row := range texts(t, db, "SELECT "+strings.Join(from, " || ', ' || ")+" FROM today."+table) {
				fmt.Fprintf(&b, "INSERT OR REPLACE INTO %s (%s) VALUES (%s);\n", table, strings.Join(into, ", "), row)
			}
		}
		must(t, db.Close())
		must(t, os.WriteFile(filepath.Join("testdata", fmt.Sprintf("schema-%d.sql", schema)), []byte(b.String()), 0o644))
	}
}

func texts(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(context.WithoutCancel(t.Context()), query)
	must(t, err)
	found, err := collect(rows, scanText)
	must(t, err)
	return found
}

// fillAllStates records an incident with a delivery in each state, with all that a delivery can have.
func fillAllStates(t *testing.T, st *Store) {
	t.Helper()
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		for n, state := range delivery.States() {
			inc, c := recordFor(tx, fmt.Sprint("k", n), long, 2)
			if n%2 == 0 {
				inc.Resolve(incident.Recovered, inc.LastSeen.Add(time.Minute))
			}
			d := due(inc, state)
			d.HookUID, d.EventType, d.Group, d.Agent, d.Prompt, d.Data = "uid", inc.Type, "Pod/"+inc.Resource.Name, delivery.AgentRef{Namespace: "kagent", Name: "medic"}, "look", `{"a":1}`
			d.RequestedBy, d.CancelRequestedBy, d.EvenIfRecovered, d.NeedsApproval, d.Failure, d.Error, d.Answer = "ann", "ben", true, n == 3, "failed", "it said no", "done"
			d.Reply = &delivery.Reply{N: 1, Text: "yes", By: "ann", At: long}
			d.Usage = delivery.Usage{Total: 30, Prompt: 20, Completion: 10}
			if state == delivery.Calling {
				d.Sent = &delivery.Sent{Dialect: "kagent-1.0", User: "khook", URL: "http://kagent", At: long, Again: true, Missed: 1, Looks: 2}
				d.CancelTries, d.CancelAt = 1, long
			}
			if state == delivery.Succeeded {
				d.VerifyUntil, d.RecoveredAt = d.EndedAt.Add(10*time.Minute), d.EndedAt.Add(time.Minute)
				d.Outcome, d.OutcomeAt = delivery.OutcomeRelapsed, d.EndedAt.Add(2*time.Minute)
			}
			if state == delivery.Working {
				d.StallAfter, d.OnStall, d.HeardAt, d.HeardSum, d.StalledSince = time.Hour, delivery.OnStallCancel, long, 7, long
				d.Stop, d.StopAt, d.TaskID = delivery.StopAsked, long.Add(time.Hour), "task"
			}
			d.HeldBack = &delivery.HeldBack{OverBudget: 2, Since: long, Until: long, Resources: []string{"cart"}}
			c.Deliveries = []*delivery.Delivery{d}
			c.Entries = []delivery.Entry{{DeliveryID: d.ID, Kind: delivery.EntryCall, At: long, By: "agent", Text: "hello"}}
			if err := tx.Save(t.Context(), c); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestOutcomesFromBeforeTheyHadAWindowsEndStay: those that are known, with when it recovered; and those to come are still decided.
func TestOutcomesFromBeforeTheyHadAWindowsEndStay(t *testing.T) {
	pgtest.OnlySQLite(t)
	file := newPath(t)
	earlierHistory(t, file, 9)
	db := migrated(t, file, 9)
	called, end := micros(long.Add(time.Minute)), micros(long.Add(time.Hour))
	for n, set := range []string{
		"outcome = 'recovered', outcome_at = called_at - 1", "outcome = 'recovered', outcome_at = ended_at - 1", "outcome = 'recovered', outcome_at = ended_at + 1",
		"outcome = 'persisting', outcome_at = ended_at + 1", "verify_window = 86400000000", "task_id = '', state = 'failed'", "skipped = 'canceled'",
	} {
		_, err := db.ExecContext(t.Context(), "UPDATE deliveries SET state = 'succeeded', task_id = 't', called_at = ?, ended_at = ?, outcome = '' WHERE id = ?", called, end, fmt.Sprint("delivery of k", n))
		must(t, err)
		_, err = db.ExecContext(t.Context(), "UPDATE deliveries SET "+set+" WHERE id = ?", fmt.Sprint("delivery of k", n))
		must(t, err)
	}
	must(t, db.Close())
	st := openStore(t, file)
	var got []string
	for n := range 7 {
		d, err := st.Delivery(t.Context(), fmt.Sprint("delivery of k", n))
		must(t, err)
		left := time.Duration(0)
		if !d.VerifyUntil.IsZero() {
			left = d.VerifyUntil.Sub(d.EndedAt)
		}
		got = append(got, fmt.Sprintf("%s %s %s", d.Outcome, d.RecoveredIn(), left))
	}
	want := []string{"recovered before-call 0s", "recovered during-task 0s", "recovered after-task 0s", "persisting  0s", "  24h0m0s", "  0s", "  0s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	counts, err := st.Reader().HookCounts(t.Context(), shopHook, long.Add(-time.Hour), long.Add(5*time.Hour))
	must(t, err)
	for _, in := range delivery.Phases() {
		if n := counts[RecoveredCount(in)]; n != 1 {
			t.Errorf("%d recovered %s", n, in)
		}
	}
}

// TestAHistoryWhoseClusterWasRenamedBecomesThatOfOneCluster: the newest name stays, with all that goes on under it; what had been given up under
// another name ends.
func TestAHistoryWhoseClusterWasRenamedBecomesThatOfOneCluster(t *testing.T) {
	file := newPath(t)
	earlierHistory(t, file, 14)
	db := migrated(t, file, 14)
	for _, change := range []string{ // k0, k2, ... ended; k7 is the newest that goes on, k8 the newest
		"UPDATE incidents SET cluster = 'prod' WHERE name >= 'k6'", "UPDATE events SET cluster = 'prod' WHERE name >= 'k6'",
		"UPDATE deliveries SET cluster = 'prod' WHERE id >= 'delivery of k6'",
		"UPDATE events SET event_key = 'k1 0' WHERE event_key = 'k7 0'", // seen again under the new name
		"INSERT INTO pauses VALUES ('', 'old', '', '', '', 1, 0, 0), ('prod', 'new', '', '', '', 1, 0, 0)",
		"INSERT INTO hook_configs SELECT 'prod', hook_ns, hook, config, position, 'new', type, agent_ns, agent, edited_at, saved_at + 1 FROM hook_configs",
		"INSERT INTO event_counts SELECT span, namespace, start, 'prod', type, status, n FROM event_counts",
	} {
		_, err := db.ExecContext(t.Context(), change)
		must(t, err)
	}
	counted := texts(t, db, "SELECT sum(n) FROM event_counts")
	must(t, db.Close())

	st, err := Open(t.Context(), Config{Path: file, Cluster: "production", ClusterUID: "u"})
	must(t, err)
	defer st.Close()
	if diff := cmp.Diff(&Cluster{No: 0, Name: "production", UID: "u", Salt: "prod"}, st.Cluster()); diff != "" {
		t.Error(diff)
	}
	open, err := st.OpenIncidents(t.Context())
	must(t, err)
	if len(open) != 1 || open[0].Resource.Name != "k7" || open[0].Cluster != "production" {
		t.Errorf("open are %v", open)
	}
	old, err := st.AllIncidents(t.Context(), 100)
	must(t, err)
	for _, i := range old {
		if i.Resource.Name == "k1" && (i.Resolution != incident.Quiet || !i.ResolvedAt.Equal(i.LastSeen)) {
			t.Errorf("what was given up became %+v", i)
		}
	}
	if len(old) != len(delivery.States()) {
		t.Errorf("%d incidents are left", len(old))
	}
	unfinished, err := st.UnfinishedDeliveries(t.Context(), long, 100)
	must(t, err)
	for _, d := range unfinished {
		if d.ID < "delivery of k6" {
			t.Errorf("%s goes on", d.ID)
		}
	}
	given, err := st.Delivery(t.Context(), "delivery of k1")
	if must(t, err); given.State != delivery.Canceled || given.Failure == "" {
		t.Errorf("what was under way became %+v", given)
	}
	for _, key := range []string{"k1 0", "k1 0 of cluster "} {
		if known, err := st.KnownKeys(t.Context(), []string{key}); err != nil || len(known) != 1 {
			t.Errorf("event %q: %v, %v", key, known, err)
		}
	}
	pauses, err := st.Pauses(t.Context())
	if must(t, err); len(pauses) != 1 || pauses[0].Namespace != "new" {
		t.Errorf("pauses %v", pauses)
	}
	if now := texts(t, st.core.db, "SELECT sum(n) FROM event_counts"); !slices.Equal(now, counted) {
		t.Errorf("%v were counted, and %v are", counted, now)
	}
}
