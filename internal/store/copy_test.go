package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// aHistory is a file with rows in all tables, of a cluster that has no name.
func aHistory(t *testing.T) (file, text string) {
	t.Helper()
	file = newPath(t)
	st, err := Open(t.Context(), Config{Path: file, ClusterUID: "its UID"})
	must(t, err)
	must(t, st.Lead(t.Context()))
	fillAllStates(t, st)
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.PutDeadLetter(t.Context(), &incident.DeadLetter{ID: "letter", FirstAt: long, LastAt: long, Error: "\u2603", Signal: incident.Signal{Key: "k"}})
		return err
	}))
	for _, table := range copiedTables { // what has no row yet gets one
		columns, err := columnsOf(t.Context(), &copySource{conn: st.conn}, table.name)
		must(t, err)
		values := make([]string, len(columns))
		for i := range columns {
			values[i] = "'7'" // a number in a column of numbers
		}
		if n := texts(t, st.core.db, "SELECT CAST(count(*) AS TEXT) FROM "+table.name); n[0] == "0" {
			_, err = st.conn.ExecContext(t.Context(), "INSERT INTO "+table.name+" (cluster, "+strings.Join(columns, ", ")+") VALUES (0, "+strings.Join(values, ", ")+")")
			must(t, err)
		}
	}
	text = readBack(t, st)
	must(t, st.Close())
	return file, text
}

// eventsIn finds the IDs of events in what a history says.
var eventsIn = regexp.MustCompile(`(  event |\{)(\d+) `)

// withoutClusters is what a history says, with the IDs of events as they are if the cluster has the number 0.
func withoutClusters(t *testing.T, text string) []string {
	t.Helper()
	return strings.Split(eventsIn.ReplaceAllStringFunc(text, func(found string) string {
		parts := eventsIn.FindStringSubmatch(found)
		id, err := strconv.ParseInt(parts[2], 10, 64)
		must(t, err)
		return fmt.Sprint(parts[1], id&eventNumber, " ")
	}), "\n")
}

func copyAll(t *testing.T, file, url string, progress func(CopyProgress)) ([]Copied, error) {
	t.Helper()
	return Copy(t.Context(), CopyConfig{From: file, To: pgtest.At(url), Progress: progress})
}

// TestACopiedHistorySaysWhatItSaid, also where its number is taken, and nothing of the file is changed.
func TestACopiedHistorySaysWhatItSaid(t *testing.T) {
	for _, others := range []int64{0, 3} {
		t.Run(fmt.Sprint(others, " clusters are there"), func(t *testing.T) {
			file, text := aHistory(t)
			before, err := os.ReadFile(file)
			must(t, err)
			url := pgtest.Shared(t).Schema(t)
			for n := range others {
				st, err := Open(t.Context(), Config{Engine: pgtest.At(url), Cluster: fmt.Sprint("other ", n), ClusterUID: fmt.Sprint("uid ", n)})
				must(t, err)
				fillAllStates(t, st)
				must(t, st.Close())
			}
			copied, err := copyAll(t, file, url, nil)
			must(t, err)
			if len(copied) != 1 || copied[0].To.No != others || copied[0].Already || len(copied[0].Tables) != len(copiedTables) {
				t.Errorf("%+v", copied)
			}
			st, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: "its UID"})
			must(t, err)
			defer st.Close()
			if diff := cmp.Diff(Cluster{No: others, UID: "its UID"}, *st.Cluster()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(withoutClusters(t, text), withoutClusters(t, readBack(t, st))); diff != "" {
				t.Error(diff)
			}
			changes, err := st.EventChanges(t.Context(), ChangeFilter{}, 0, 1_000_000, 1000)
			if must(t, err); len(changes) == 0 || changes[0].Event.ID != st.Cluster().eventID(changes[0].Seq) {
				t.Errorf("changes %v", changes)
			}
			must(t, save(t.Context(), st, "goes on"))
			if after, err := os.ReadFile(file); err != nil || !slices.Equal(before, after) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

// TestEveryTableOfAClusterIsCopied: whoever adds a table says by which key, and where it has IDs of events.
func TestEveryTableOfAClusterIsCopied(t *testing.T) {
	pgtest.OnlySQLite(t)
	st := openStore(t, newPath(t))
	var known []string
	for _, table := range copiedTables {
		known = append(known, table.name)
		key := texts(t, st.core.db, "SELECT name FROM pragma_table_info('"+table.name+"') WHERE pk > 0 ORDER BY pk")
		if got := "cluster, " + table.key; got != strings.Join(key, ", ") {
			t.Errorf("the key of %s is %v, and it is copied by %s", table.name, key, got)
		}
	}
	slices.Sort(known)
	if diff := cmp.Diff(known, texts(t, st.core.db, "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'cluster' ORDER BY 1")); diff != "" {
		t.Error(diff)
	}
}

// TestACopyThatWasEndedAnywhereIsGoneOnWith, and no khook goes on with the history before all of it is there.
func TestACopyThatWasEndedAnywhereIsGoneOnWith(t *testing.T) {
	file, text := aHistory(t)
	url := pgtest.Shared(t).Schema(t)
	ended, steps, resumed := 0, 0, false
	for {
		ctx, end := context.WithCancel(t.Context())
		at := 0
		_, err := Copy(ctx, CopyConfig{From: file, To: pgtest.At(url), Progress: func(p CopyProgress) {
			resumed = resumed || p.Resumed
			if at++; at > steps {
				end()
			}
		}})
		end()
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		ended++
		steps += 5
		if there, err := Clusters(t.Context(), Config{Engine: pgtest.At(url)}); err != nil || len(there) != 0 {
			t.Fatalf("a part of it is shown: %v, %v", there, err)
		}
		for _, uid := range []string{"", "its UID"} {
			if _, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: uid}); !errors.Is(err, errCopying) {
				t.Fatalf("a khook goes on with a part of it: %v", err)
			}
		}
	}
	if ended < 3 || !resumed {
		t.Errorf("ended %d times, resumed: %t", ended, resumed)
	}
	st, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: "its UID"})
	must(t, err)
	defer st.Close()
	if diff := cmp.Diff(strings.Split(text, "\n"), strings.Split(readBack(t, st), "\n")); diff != "" {
		t.Error(diff)
	}
	var left bool
	must(t, st.conn.QueryRowContext(t.Context(), "SELECT to_regclass('"+progressTable+"') IS NOT NULL").Scan(&left))
	if left {
		t.Error("what the copy needed is still there")
	}
}

// TestACopyAgainIsNoneUnlessTheHistoryWasGoneOnWith: then it is refused, and so is what else would mix two histories.
func TestACopyAgainIsNoneUnlessTheHistoryWasGoneOnWith(t *testing.T) {
	file, _ := aHistory(t)
	url := pgtest.Shared(t).Schema(t)
	_, err := copyAll(t, file, url, nil)
	must(t, err)
	copied, err := copyAll(t, file, url, nil)
	if must(t, err); !copied[0].Already {
		t.Errorf("%+v", copied)
	}
	st, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: "its UID"})
	must(t, err)
	_, err = st.conn.ExecContext(t.Context(), "UPDATE incidents SET message = 'another' WHERE id = (SELECT min(id) FROM incidents)")
	must(t, err)
	_, err = copyAll(t, file, url, nil)
	says(t, err, "another history of this cluster: what was copied is not what the file has: incidents has")
	must(t, save(t.Context(), st, "goes on"))
	must(t, st.Close())
	_, err = copyAll(t, file, url, nil)
	says(t, err, "another history of this cluster")

	for _, c := range []struct{ name, uid, want string }{
		{"", "another UID", "start khook on the file once with another name (--cluster)"},
		{"prod", "its UID", "has the same UID"},
	} {
		other := newPath(t)
		st, err := Open(t.Context(), Config{Path: other, Cluster: c.name, ClusterUID: c.uid})
		must(t, err)
		must(t, st.Close())
		_, err = copyAll(t, other, url, nil)
		says(t, err, c.want)
	}
	unnamed := newPath(t)
	for _, name := range []string{"", "named later"} { // its IDs are derived from no name for ever
		st, err := Open(t.Context(), Config{Path: unnamed, Cluster: name, ClusterUID: "2"})
		must(t, err)
		must(t, st.Close())
	}
	_, err = copyAll(t, unnamed, url, nil)
	says(t, err, "are derived from the same name")
}

// TestWhatIsWrittenIntoTheFileWhileItIsCopiedIsNoticed, and the next run copies all anew.
func TestWhatIsWrittenIntoTheFileWhileItIsCopiedIsNoticed(t *testing.T) {
	file, _ := aHistory(t)
	url := pgtest.Shared(t).Schema(t)
	written := false
	_, err := copyAll(t, file, url, func(p CopyProgress) {
		if p.Table == "deliveries" && !written {
			written = true
			st, err := Open(t.Context(), Config{Path: file, ClusterUID: "its UID"})
			must(t, err)
			must(t, save(t.Context(), st, "meanwhile"))
			must(t, st.Close())
		}
	})
	if !errors.Is(err, errWritten) || !strings.Contains(err.Error(), "stop the khook that writes it") {
		t.Fatal(err)
	}
	_, err = copyAll(t, file, url, nil)
	must(t, err)
	st, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: "its UID"})
	must(t, err)
	defer st.Close()
	if _, err := st.Incident(t.Context(), incident.DeriveID("incident", "", "meanwhile")); err != nil {
		t.Error(err)
	}
}

// TestAFileThatAnotherProcessHasOpenIsNotCopied: what that one writes would be missed.
func TestAFileThatAnotherProcessHasOpenIsNotCopied(t *testing.T) {
	pgtest.OnlySQLite(t)
	const env = "KHOOK_TEST_KEEP_OPEN"
	if file := os.Getenv(env); file != "" { // as the other process
		st, err := Open(t.Context(), Config{Path: file})
		must(t, err)
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1))
		must(t, st.Close())
		return
	}
	file, _ := aHistory(t)
	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run", t.Name()+"$")
	other.Env = append(os.Environ(), env+"="+file)
	in, err := other.StdinPipe()
	must(t, err)
	out, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	_, err = out.Read(make([]byte, 5))
	must(t, err)
	url := pgtest.Shared(t).Schema(t)
	_, err = copyAll(t, file, url, nil)
	says(t, err, fmt.Sprintf("stop the khook that writes it, so that nothing is missed (process %d has it open)", other.Process.Pid))
	must(t, in.Close())
	_ = other.Wait() // its output is no test's
	_, err = copyAll(t, file, url, nil)
	must(t, err)
}

// TestAHistoryOfAnotherSchemaIsNeitherCopiedNorCopiedTo: neither is brought up to date by the way, since others may work on it.
func TestAHistoryOfAnotherSchemaIsNeitherCopiedNorCopiedTo(t *testing.T) {
	file, _ := aHistory(t)
	url := pgtest.Shared(t).Schema(t)
	old := newPath(t)
	earlierHistory(t, old, 14)
	_, err := copyAll(t, old, url, nil)
	says(t, err, "start this version of khook with it once")
	st, err := Open(t.Context(), Config{Engine: pgtest.At(url), Cluster: "other"})
	must(t, err)
	defer st.Close()
	for change, want := range map[string]string{
		"INSERT INTO khook_schema_version (version_id, is_applied) VALUES (999, true)": "written by a newer khook",
		"UPDATE khook_schema_version SET version_id = 1 WHERE version_id > 1":          "start this version of khook with it once",
	} {
		_, err := st.conn.ExecContext(t.Context(), change)
		must(t, err)
		_, err = copyAll(t, file, url, nil)
		says(t, err, want)
		_, err = st.conn.ExecContext(t.Context(), "DELETE FROM khook_schema_version WHERE version_id = 999")
		must(t, err)
	}
	_, err = Copy(t.Context(), CopyConfig{From: old + " that is not there", To: pgtest.At(url)})
	says(t, err, "there is no history to read")
	refused := postgres.New(postgres.Config{URL: func() (string, error) { return "postgres://khook:secret@127.0.0.1:1/khook", nil }})
	if _, err = Copy(t.Context(), CopyConfig{From: file, To: refused}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a database that is not there: %v", err)
	}
}

// TestTwoProcessesDoNotCopyAHistoryAtTheSameTime: one that another has taken over from writes nothing more.
func TestTwoProcessesDoNotCopyAHistoryAtTheSameTime(t *testing.T) {
	file, _ := aHistory(t)
	url := pgtest.Shared(t).Schema(t)
	began := false
	_, err := copyAll(t, file, url, func(CopyProgress) {
		if !began {
			began = true
			_, err := copyAll(t, file, url, nil)
			must(t, err)
		}
	})
	if err == nil {
		t.Error("the first one did not notice")
	}
	st, err := Open(t.Context(), Config{Engine: pgtest.At(url), ClusterUID: "its UID"})
	must(t, err)
	defer st.Close()
	unfinished, err := st.AllDeliveries(t.Context(), 1000)
	if must(t, err); len(unfinished) != len(delivery.States()) {
		t.Errorf("%d deliveries", len(unfinished))
	}
}
