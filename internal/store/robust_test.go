package store

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// asWriter makes the test binary a process that writes until it is killed.
const asWriter = "KHOOK_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(asWriter); path != "" {
		writeUntilKilled(path)
		return
	}
	pgtest.Main(m)
}

func openStore(t testing.TB, path string) *Store {
	t.Helper()
	st, err := Open(t.Context(), Config{Engine: pgtest.Engine(t, path), Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// save writes one event that opens an incident.
func save(ctx context.Context, st *Store, key string) error {
	now := time.Now()
	s := incident.Signal{
		Key: key, Kind: incident.Observed, Type: incident.PodRestart, At: now, Observation: incident.Observation{
			Container: "app", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: key, UID: key}, Message: strings.Repeat("x", 500),
		}, Count: 1,
	}
	inc := incident.Open(incident.Origin{}, &s)
	return st.Write(ctx, func(tx *Tx) error {
		ev := incident.NewEvent(inc, &s, now)
		ev.ID = tx.NextEvent()
		return tx.Save(ctx, &Changes{Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}})
	})
}

func count(t testing.TB, st *Store, table string) int {
	t.Helper()
	var n int
	if err := st.core.db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAFullDiskIsToldAndLosesNothing(t *testing.T) {
	pgtest.OnlySQLite(t)
	st := openStore(t, filepath.Join(t.TempDir(), "khook.db"))
	limit := func(pages int) {
		if _, err := st.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(60)
	written := 0
	var err error
	for err == nil {
		if err = save(t.Context(), st, fmt.Sprintf("k%d", written)); err == nil {
			written++
		}
	}
	if !strings.Contains(err.Error(), "the disk is full: make room") {
		t.Errorf("it says %v", err)
	}
	if n := count(t, st, "events"); n != written || count(t, st, "incidents") != written {
		t.Errorf("%d events for %d writes that were acknowledged", n, written)
	}
	limit(1_000_000)
	if err := save(t.Context(), st, "later"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := st.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpeningABadFileSaysWhatToDo(t *testing.T) {
	pgtest.OnlySQLite(t)
	dir := t.TempDir()
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	file := func(name string, body []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct{ path, want string }{
		"no database":    {file("noise.db", noise), "is no SQLite database"},
		"damaged":        {damaged(t, filepath.Join(dir, "damaged.db"), noise), "the file is damaged: move it away"},
		"a folder":       {dir, "can't be opened"},
		"missing folder": {filepath.Join(dir, "nope", "khook.db"), "its folder must exist"},
		"newer":          {newer(t, filepath.Join(dir, "newer.db")), "written by a newer khook"},
	} {
		t.Run(name, func(t *testing.T) {
			st, err := Open(t.Context(), Config{Path: tc.path})
			if err == nil {
				st.Close()
				t.Fatal("it opened")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path) {
				t.Errorf("it says %q, want %q", err, tc.want)
			}
		})
	}
}

// damaged makes a history and overwrites its middle.
func damaged(t *testing.T, path string, noise []byte) string {
	t.Helper()
	st := openStore(t, path)
	for i := range 200 {
		if err := save(t.Context(), st, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(noise[:min(len(noise), int(info.Size()/2))], info.Size()/3); err != nil {
		t.Fatal(err)
	}
	return path
}

func newer(t *testing.T, path string) string {
	t.Helper()
	st := openStore(t, path)
	if _, err := st.conn.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestALockedFileIsTold(t *testing.T) {
	pgtest.OnlySQLite(t)
	path := filepath.Join(t.TempDir(), "khook.db")
	one, two := openStore(t, path), openStore(t, path)
	if _, err := one.conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.conn.ExecContext(t.Context(), "PRAGMA busy_timeout = 50"); err != nil {
		t.Fatal(err)
	}
	if err := two.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "another process has it locked") {
		t.Errorf("it says %v", err)
	}
	if _, err := one.conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := save(t.Context(), two, "k"); err != nil {
		t.Errorf("when it is free again: %v", err)
	}
}

func TestReadersDoNotWaitForTheWriter(t *testing.T) {
	st := openStore(t, filepath.Join(t.TempDir(), "khook.db"))
	if err := save(t.Context(), st, "before"); err != nil {
		t.Fatal(err)
	}
	err := st.Write(t.Context(), func(tx *Tx) error {
		if _, err := tx.exec(t.Context(), "DELETE FROM incidents"); err != nil {
			return err
		}
		open, err := st.OpenIncidents(t.Context()) // in the middle of the write
		if err != nil || len(open) != 1 {
			t.Errorf("%d incidents, %v", len(open), err)
		}
		return fmt.Errorf("changed my mind")
	})
	if err == nil || count(t, st, "incidents") != 1 {
		t.Errorf("a write that failed was kept: %v", err)
	}
}

func TestAKeyIsRecordedOnceWhateverIsAsked(t *testing.T) {
	st := openStore(t, ":memory:")
	if err := save(t.Context(), st, "k"); err != nil {
		t.Fatal(err)
	}
	if err := save(t.Context(), st, "k"); err == nil {
		t.Error("the same key was written twice")
	}
	if count(t, st, "events") != 1 || count(t, st, "changes") != 2 {
		t.Error("the second write left something")
	}
}

func TestAfterCloseItSaysSo(t *testing.T) {
	st := openStore(t, filepath.Join(t.TempDir(), "khook.db"))
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := st.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("%v", err)
	}
}

// writeUntilKilled acknowledges each write on its standard output.
func writeUntilKilled(path string) {
	cfg := Config{Path: path}
	if postgres.IsURL(path) {
		cfg.Engine = pgtest.At(path)
	}
	st, err := Open(context.Background(), cfg)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	last, err := st.LastChange(context.Background())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for i := last; ; i++ {
		if err := save(context.Background(), st, fmt.Sprintf("k%d", i)); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("wrote", i)
	}
}

func TestKilledWhileItWritesKeepsWhatWasAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "khook.db")
	acknowledged := map[string]bool{}
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asWriter+"="+cmp.Or(pgtest.URL(t, path), path))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		said := []string{""}
		if lines.Scan() { // it has begun to write
			said[0] = lines.Text()
		}
		select { // the moment of the kill is what is random here
		case <-t.Context().Done():
		case <-time.After(time.Duration(rand.IntN(300)) * time.Millisecond):
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			said = append(said, lines.Text())
		}
		_ = cmd.Wait()
		for _, line := range said {
			if n, ok := strings.CutPrefix(line, "wrote "); ok {
				if _, err := strconv.Atoi(n); err == nil {
					acknowledged["k"+n] = true
				}
			} else if strings.HasPrefix(line, "error") {
				t.Error(line)
			}
		}
	}
	st := openStore(t, path)
	for key := range acknowledged {
		if _, err := st.Incident(t.Context(), incident.DeriveID("incident", "", key)); err != nil {
			t.Errorf("%s was acknowledged and is lost: %v", key, err)
		}
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was written")
	}
	events := count(t, st, "events")
	var counted int
	if err := st.core.db.QueryRowContext(t.Context(), "SELECT sum(n) FROM event_counts WHERE status = 'firing' AND span = 1 AND namespace = '*'").Scan(&counted); err != nil {
		t.Fatal(err)
	}
	if counted != events || count(t, st, "changes") != 2*events {
		t.Errorf("%d events, %d counted, %d in the change log", events, counted, count(t, st, "changes"))
	}
}

func TestPruneDeletesWhatEndedAndKeepsWhatIsOpen(t *testing.T) {
	st := openStore(t, filepath.Join(t.TempDir(), "khook.db"))
	for i := range 1200 {
		if err := save(t.Context(), st, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	open, err := st.OpenIncidents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, inc := range open[100:] {
		inc.Resolve(incident.Recovered, time.Now())
	}
	if err := st.Write(t.Context(), func(tx *Tx) error { return tx.Save(t.Context(), &Changes{Incidents: open[100:]}) }); err != nil {
		t.Fatal(err)
	}
	if deleted, err := st.Prune(t.Context(), time.Now().Add(-time.Hour)); err != nil || deleted != 0 {
		t.Errorf("deleted %d rows that are not old, %v", deleted, err)
	}
	if _, err := st.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if count(t, st, "incidents") != 100 || count(t, st, "events") != 100 || count(t, st, "changes") != 0 {
		t.Errorf("%d incidents, %d events, %d changes left", count(t, st, "incidents"), count(t, st, "events"), count(t, st, "changes"))
	}
}

// TestHotQueriesGoByIndex explains the queries of each batch, each step of a delivery, each status
// and each start.
func TestHotQueriesGoByIndex(t *testing.T) {
	pgtest.OnlySQLite(t)
	st := openStore(t, ":memory:")
	for _, query := range []string{
		"SELECT event_key FROM events WHERE cluster = 0 AND event_key IN (?,?) AND cluster = 0",
		"SELECT 1 FROM deliveries WHERE cluster = 0 AND hook_ns = ? AND hook = ? AND config = ? AND grp = ? ORDER BY created_at DESC LIMIT ?",
		"SELECT count(*) FROM deliveries WHERE cluster = 0 AND hook_ns = ? AND hook = ? AND config = ? AND created_at >= ?",
		"UPDATE events SET status = 'resolved' WHERE cluster = 0 AND incident_id = ? AND status = 'firing' RETURNING id",
		"SELECT 1 FROM incidents WHERE cluster = 0 AND resolution = '' ORDER BY last_seen",
		"SELECT incident_id FROM decisions WHERE cluster = 0 AND delivery_id = ? AND delivery_id <> '' AND disposition <> 'explained'",
		"SELECT min(created_at) FROM deliveries WHERE cluster = 0 AND ended_at = 0 AND cluster = 0 AND state IN ('pending', 'calling')",
		"SELECT 1 FROM incidents WHERE cluster = 0 AND caused_by <> '' AND caused_by IN (?,?)",
		"SELECT seq FROM changes WHERE cluster = 0 AND seq > ? ORDER BY seq LIMIT ?",
		"SELECT id FROM incidents WHERE cluster = 0 AND resolution <> '' AND resolved_at < ? LIMIT ?",
		"SELECT 1 FROM hook_incidents WHERE cluster = 0 AND incident_id IN (?,?)",
	} {
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = 1
		}
		rows, err := st.core.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := collect(rows, func(row scanner) (detail string, err error) {
			var a, b, c int
			err = row.Scan(&a, &b, &c, &detail)
			return detail, err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "USING") || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\n  %s", query, step)
			}
		}
	}
}
