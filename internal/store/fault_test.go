package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestOnlyWhatARowSaysIsItsFault(t *testing.T) {
	pgtest.OnlySQLite(t)
	file := newPath(t)
	st := openStore(t, file)
	must(t, save(t.Context(), st, "first"))
	ctx := t.Context()
	exec := func(query string, args ...any) error {
		return st.Write(ctx, func(tx *Tx) error {
			_, err := tx.exec(ctx, query, args...)
			return err
		})
	}
	pragma := func(text string) {
		t.Helper()
		if _, err := st.conn.ExecContext(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	must(t, exec("CREATE TABLE strict (n INTEGER NOT NULL CHECK (n > 0), text ANY) STRICT"))
	_, unsupported := incidentRow(&incident.Incident{}, 0)
	must(t, unsupported)
	for name, fault := range map[string]struct {
		err  error
		want incident.Fault
	}{
		"a value that is missing":     {exec("INSERT INTO strict (n) VALUES (NULL)"), incident.BadConstraint},
		"a value that breaks a rule":  {exec("INSERT INTO strict (n) VALUES (0)"), incident.BadConstraint},
		"a value of the wrong type":   {exec("INSERT INTO strict (n) VALUES ('many')"), incident.BadConstraint},
		"a key that is there already": {save(ctx, st, "first"), incident.BadConstraint},
		"a text that is too large":    {exec("INSERT INTO strict (n, text) VALUES (1, zeroblob(2000000000))"), incident.BadSize},
	} {
		if got, atFault := FaultOf(fault.err); !atFault || got != fault.want {
			t.Errorf("%s: %v is %q", name, fault.err, got)
		}
	}

	passing := map[string]error{
		"nothing": nil, "an outage": fmt.Errorf("read: %w", context.DeadlineExceeded), "another leader": fmt.Errorf("write: %w", ErrDeposed),
		"a change of somebody else": ErrConflict, "a file that is gone": fs.ErrNotExist, "a closed history": errClosed, "a history of a newer khook": errNewer,
	}
	pragma("PRAGMA max_page_count = 1")
	var full error
	for i := 0; full == nil && i < 1000; i++ {
		full = save(ctx, st, fmt.Sprint("full-", i))
	}
	pragma("PRAGMA max_page_count = 1000000")
	if !strings.Contains(full.Error(), "the disk is full") {
		t.Fatal(full)
	}
	passing["a full disk"] = full
	pragma("PRAGMA query_only = true")
	passing["a file that can't be written"] = save(ctx, st, "read-only")
	pragma("PRAGMA query_only = false")
	pragma("PRAGMA busy_timeout = 1")
	other, err := sql.Open("sqlite", file)
	must(t, err)
	defer other.Close()
	other.SetMaxOpenConns(1)
	_, err = other.ExecContext(ctx, "BEGIN IMMEDIATE")
	must(t, err)
	passing["a lock"] = save(ctx, st, "locked")
	_, err = other.ExecContext(ctx, "ROLLBACK")
	must(t, err)
	for name, err := range passing {
		if err == nil && name != "nothing" {
			t.Errorf("%s is no error", name)
		}
		if fault, atFault := FaultOf(err); atFault {
			t.Errorf("%s: %v is said to be a fault of the row: %s", name, err, fault)
		}
	}
	must(t, save(ctx, st, "after all"))
	must(t, st.Check(ctx))
}

func TestAProbeLeavesNothingBehind(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, save(t.Context(), st, "first"))
	last, err := st.LastChange(t.Context())
	must(t, err)
	must(t, st.Probe(t.Context()))
	for _, table := range []string{"events", "incidents"} {
		if n := count(t, st, table); n != 1 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	for _, table := range []string{"deliveries", "decisions", "delivery_groups", "delivery_incidents", "hook_incidents"} {
		if n := count(t, st, table); n != 0 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
	if now, err := st.LastChange(t.Context()); err != nil || now != last {
		t.Errorf("the change sequence went from %d to %d, %v", last, now, err)
	}
}

func TestDeadLettersAreBoundedInNumberAndSize(t *testing.T) {
	put := func(t *testing.T, st *Store, n int, labels map[string]string) int {
		t.Helper()
		dropped := 0
		must(t, st.Write(t.Context(), func(tx *Tx) error {
			for i := range n {
				s := incident.Signal{Key: fmt.Sprint("k", i), Kind: incident.Observed, Observation: incident.Observation{Attributes: incident.Attributes{Pod: &incident.PodAttributes{Labels: labels}}}}
				d := incident.NewDeadLetter(incident.Origin{}, s, incident.BadSize, errors.New("too large"), long.Add(time.Duration(i)*time.Second))
				n, err := tx.PutDeadLetter(t.Context(), d)
				if dropped += n; err != nil {
					return err
				}
			}
			return nil
		}))
		return dropped
	}
	t.Run("number", func(t *testing.T) {
		st := openStore(t, newPath(t))
		if dropped := put(t, st, MaxDeadLetters+20, nil); dropped != 20 {
			t.Errorf("%d were dropped", dropped)
		}
		letters, err := st.DeadLetters(t.Context(), 2*MaxDeadLetters)
		if err != nil || len(letters) != MaxDeadLetters || letters[0].Signal.Key != fmt.Sprint("k", MaxDeadLetters+19) {
			t.Errorf("%d are kept, %v", len(letters), err)
		}
	})
	t.Run("size", func(t *testing.T) {
		st := openStore(t, newPath(t))
		labels := map[string]string{}
		for i := range 500 {
			labels[fmt.Sprint("label-", i)] = strings.Repeat("x", 63)
		}
		put(t, st, 300, labels)
		var size int64
		must(t, st.core.db.QueryRowContext(t.Context(), "SELECT sum(length(signal)) FROM dead_letters").Scan(&size))
		if n := count(t, st, "dead_letters"); size > MaxDeadLetterBytes || n < 100 {
			t.Errorf("%d letters of %d bytes", n, size)
		}
	})
	t.Run("one", func(t *testing.T) {
		st := openStore(t, newPath(t))
		labels := map[string]string{"large": strings.Repeat("x", 2*maxDeadLetter)}
		put(t, st, 1, labels)
		letters, err := st.DeadLetters(t.Context(), 1)
		if err != nil || len(letters) != 1 || letters[0].Signal.Key != "k0" || letters[0].Signal.Attributes.PodOrZero().Labels != nil {
			t.Errorf("%+v, %v", letters, err)
		}
	})
}

// The histories of earlier versions have this, and an earlier version may read the history of this one.
func TestTheSignalOfADeadLetterIsKeptInItsFirstForm(t *testing.T) {
	const kept = `{"Key":"k","Kind":"observed","Type":"oom-kill","At":"2026-03-01T12:00:00Z",` +
		`"Resource":{"kind":"Pod","namespace":"shop","name":"cart","uid":"u"},"Container":"app","Workload":{"kind":"","name":""},"Node":"",` +
		`"Labels":{"app":"cart"},"Reason":"","Message":"","RestartCount":3,"ExitCode":137,"Count":2,"Causes":null,"CauseContainer":"","CatchUp":false}`
	st := openStore(t, newPath(t))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.PutDeadLetter(t.Context(), incident.NewDeadLetter(incident.Origin{}, incident.Signal{Key: "k"}, incident.BadSize, errors.New("x"), long))
		must(t, err)
		_, err = tx.exec(t.Context(), "UPDATE dead_letters SET signal = ?", kept)
		return err
	}))
	letters, err := st.DeadLetters(t.Context(), 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	code := int32(137)
	want := incident.Signal{
		Key: "k", Kind: incident.Observed, Type: incident.OOMKill, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Observation: incident.Observation{
			Container: "app", Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "cart", UID: "u"},
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 3, ExitCode: &code, Labels: map[string]string{"app": "cart"}}},
		}, Count: 2,
	}
	if diff := cmp.Diff(want, letters[0].Signal); diff != "" {
		t.Errorf("it is read as (-want +got)\n%s", diff)
	}
	written, err := deadSignal(want)
	must(t, err)
	var before, after map[string]any
	must(t, json.Unmarshal([]byte(kept), &before))
	must(t, json.Unmarshal([]byte(written), &after))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("it is written as (-before +after)\n%s", diff)
	}
}

func TestADeadLetterThatCannotBeReadHidesNoOther(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		for _, key := range []string{"a", "b"} {
			if _, err := tx.PutDeadLetter(t.Context(), incident.NewDeadLetter(incident.Origin{}, incident.Signal{Key: key, Kind: incident.Observed}, incident.BadSize, errors.New("x"), long)); err != nil {
				return err
			}
		}
		_, err := tx.exec(t.Context(), "UPDATE dead_letters SET signal = '{' WHERE signal LIKE '%\"a\"%'")
		return err
	}))
	letters, err := st.DeadLetters(t.Context(), 10)
	if err != nil || len(letters) != 2 {
		t.Errorf("%d letters, %v", len(letters), err)
	}
}

func TestNoTextWithWhatPostgreSQLRefusesIsWritten(t *testing.T) {
	st := openStore(t, newPath(t))
	s := incident.Signal{
		Key: "k\x00\xff", Kind: incident.Observed, Type: incident.PodRestart, At: long, Count: 1,
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: "shop", Name: "a\x00b", UID: "\xff\xfe"}, Message: "says \x00",
		},
	}
	inc := incident.Open(incident.Origin{}, &s)
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		ev := incident.NewEvent(inc, &s, long)
		ev.ID = tx.NextEvent()
		must(t, tx.Save(t.Context(), &Changes{Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}}))
		known, err := tx.KnownKeys(t.Context(), []string{s.Key})
		if len(known) != 1 {
			t.Error("a key is not found as it was written")
		}
		return err
	}))
	changes, err := st.EventChanges(t.Context(), ChangeFilter{Name: "a\x00b"}, 0, math.MaxInt64, 10)
	if err != nil || len(changes) != 1 {
		t.Fatalf("%d changes, %v", len(changes), err)
	}
	e := changes[0].Event
	if text := e.Key + e.Message + e.Resource.Name + e.Resource.UID; strings.Contains(text, "\x00") || !utf8.ValidString(text) {
		t.Errorf("%+v", e)
	}
}
