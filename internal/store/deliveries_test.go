package store

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

// saveChanges saves changes in a transaction of their own.
func saveChanges(t *testing.T, st *Store, c *Changes) error {
	t.Helper()
	return st.Write(t.Context(), func(tx *Tx) error { return tx.Save(t.Context(), c) })
}

func newDelivery(id string) *delivery.Delivery {
	return &delivery.Delivery{
		ID: id, State: delivery.Pending, Hook: shopHook, HookUID: "u", Config: "pod-restart", EventType: incident.PodRestart, Group: "Pod/k",
		Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, IncidentID: "i", Prompt: "look", Timeout: time.Hour, CreatedAt: long, NextAt: long,
	}
}

func TestADeliveryThatWasChangedMeanwhileIsNotOverwritten(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{newDelivery("d")}}))
	mine, err := st.Delivery(t.Context(), "d")
	must(t, err)
	others, err := st.Delivery(t.Context(), "d")
	must(t, err)
	others.CancelRequestedBy = "ann"
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{others}}))
	others.State = delivery.Canceled
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{others}})) // its version is the new row's
	mine.State, mine.TaskID = delivery.Working, "t"
	if err := saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{mine}}); !errors.Is(err, ErrConflict) {
		t.Errorf("overwritten: %v", err)
	}
	if err := saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{newDelivery("d")}}); !errors.Is(err, ErrConflict) {
		t.Errorf("made a second time: %v", err)
	}
	now, err := st.Delivery(t.Context(), "d")
	must(t, err)
	if now.State != delivery.Canceled || now.CancelRequestedBy != "ann" || now.TaskID != "" {
		t.Errorf("%+v", now)
	}
}

// TestADeliveryHasTheVersionOfItsRowWhateverBecomesOfAWrite holds that a write which was rolled back can be tried again
// with the same values.
func TestADeliveryHasTheVersionOfItsRowWhateverBecomesOfAWrite(t *testing.T) {
	st := openStore(t, newPath(t))
	d := newDelivery("d")
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{d}}))
	read, refused := d.Version, errors.New("no")
	err := st.Write(t.Context(), func(tx *Tx) error {
		d.State = delivery.Calling
		must(t, tx.Save(t.Context(), &Changes{Deliveries: []*delivery.Delivery{d}}))
		return refused
	})
	if !errors.Is(err, refused) || d.Version != read {
		t.Errorf("after a write that was taken back its version is %d, of the row it is %d: %v", d.Version, read, err)
	}
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		for _, state := range []delivery.State{delivery.Calling, delivery.Working} { // twice in one transaction
			d.State = state
			must(t, tx.Save(t.Context(), &Changes{Deliveries: []*delivery.Delivery{d}}))
		}
		return nil
	}))
	now, err := st.Delivery(t.Context(), "d")
	must(t, err)
	if now.State != delivery.Working || now.Version != d.Version || now.Version == read {
		t.Errorf("%s of version %d, the caller's is %d", now.State, now.Version, d.Version)
	}
}

func TestAllOfADeliveryIsKept(t *testing.T) {
	st := openStore(t, newPath(t))
	d := newDelivery("d")
	d.EvenIfRecovered, d.VerifyWindow, d.RetryOf, d.RequestedBy = true, time.Minute, "another", "ann"
	d.HeldBack = &delivery.HeldBack{OverBudget: 2, LoopGuard: 3, Since: long, Until: long.Add(time.Hour), Resources: []string{"a", "b"}}
	d.State, d.Question, d.QuestionID, d.NeedsApproval, d.Replies = delivery.InputRequired, "may I?", "q", true, 1
	d.Reply = &delivery.Reply{N: 1, Text: "yes", Decision: delivery.Approve, By: "ann", At: long, QuestionID: "q", SentAt: long}
	d.Usage = delivery.Usage{Total: 30, Prompt: 20, Completion: 10}
	d.Failure, d.Error = "the agent waits for a person", "the agent waits for a person: may I?"
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{d}}))
	got, err := st.Delivery(t.Context(), "d")
	must(t, err)
	if diff := cmp.Diff(d, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheLogOfADeliveryIsBoundedAndSaysSo(t *testing.T) {
	st := openStore(t, newPath(t))
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{newDelivery("d")}}))
	var said []delivery.Entry
	for n := range 3 * delivery.MaxEntries {
		said = append(said, delivery.Entry{DeliveryID: "d", Source: fmt.Sprint("message ", n), At: long, Kind: delivery.EntryMessage, By: "agent", Text: "said"})
	}
	must(t, saveChanges(t, st, &Changes{Entries: said}))
	must(t, saveChanges(t, st, &Changes{Entries: []delivery.Entry{
		{DeliveryID: "d", Source: "message 7", At: long, Kind: delivery.EntryMessage, By: "agent", Text: strings.Repeat("x", delivery.MaxEntryText+1)},
		{DeliveryID: "d", At: long, Kind: delivery.EntryPerson, By: "ann", Text: "canceled the delivery"},
		{DeliveryID: "d", At: long, Kind: delivery.EntryOutcome, State: "recovered"},
	}}))
	log, err := st.DeliveryEntries(t.Context(), "d")
	must(t, err)
	var kinds []string
	for _, e := range log[delivery.MaxEntries-1:] {
		kinds = append(kinds, string(e.Kind))
	}
	if diff := cmp.Diff([]string{"more", "person", "outcome"}, kinds); diff != "" {
		t.Error(diff)
	}
	if e := log[7]; !e.Truncated || len(e.Text) > delivery.MaxEntryText || e.N != 8 {
		t.Errorf("what grew is not replaced: %d bytes, truncated %t, number %d", len(e.Text), e.Truncated, e.N)
	}
}

func TestWhatIsHeldBackIsReadByTheEndOfTheHold(t *testing.T) {
	st := openStore(t, newPath(t))
	group := func(name string, hold delivery.Disposition, ends time.Duration) *delivery.GroupState {
		key := shopGroup
		key.Group = name
		return &delivery.GroupState{GroupKey: key, HookUID: "u", Hold: hold, Why: "because", HoldEnds: long.Add(ends), Held: delivery.HeldBack{OverBudget: 1, Since: long, Until: long}}
	}
	must(t, saveChanges(t, st, &Changes{Groups: []*delivery.GroupState{
		group("later", delivery.LoopGuard, 2*time.Hour), group("soon", delivery.OverBudget, time.Hour), group("over", delivery.OverBudget, -time.Hour), group("free", "", time.Hour),
	}}))
	for _, hook := range []delivery.HookRef{shopHook, {}} {
		held, err := st.HeldGroups(t.Context(), hook, long, 10)
		must(t, err)
		var names []string
		for _, g := range held {
			names = append(names, g.Group)
		}
		if diff := cmp.Diff([]string{"soon", "later"}, names); diff != "" {
			t.Errorf("of hook %q: %s", hook, diff)
		}
	}
	none, err := st.HeldGroups(t.Context(), delivery.HookRef{Namespace: "shop", Name: "another"}, long, 10)
	if must(t, err); len(none) != 0 {
		t.Errorf("of another hook: %+v", none[0])
	}
}

// TestAHistoryOfTheFirstSchemaIsGoneOnWith opens a file that was written before deliveries had a
// log, groups and a table of what they are about.
func TestAHistoryOfTheFirstSchemaIsGoneOnWith(t *testing.T) {
	pgtest.OnlySQLite(t)
	file := newPath(t)
	db, err := sql.Open("sqlite", file)
	must(t, err)
	files, err := fs.Sub(migrations, "migrations")
	must(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	must(t, err)
	_, err = provider.UpTo(t.Context(), 1)
	must(t, err)
	for _, statement := range []string{
		`INSERT INTO incidents SELECT column1, 1, '', 'pod-restart', 'Pod', 'shop', column1, column1, '', 'Pod', column1, '', 'null', 1, 2, 0, '', '', 1, 0, 'r', 'm', 1, NULL
			FROM (VALUES ('first'), ('second'), ('effect'))`,
		`INSERT INTO deliveries VALUES ('d', 5, '', 'working', 'shop', 'h', 'u', 'pod-restart', 'pod-restart', 'Pod/k', 'kagent', 'medic', 'first',
			0, 60000000, 1, 1000, 0, 2000, 0, 'kagent-1.0', 'c', 't', 'working', '', '', 0, 'look', '{}', '')`,
		`INSERT INTO decisions VALUES (1, 1, 'pod-restart', 1, 'first', 'shop', 'h', 'pod-restart', 'delivered', 'd', 1),
			(2, 1, 'pod-restart', 1, 'second', 'shop', 'h', 'pod-restart', 'grouped', 'd', 1), (3, 1, 'pod-restart', 1, 'effect', 'shop', 'h', 'pod-restart', 'explained', 'd', 1)`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		must(t, err)
	}
	must(t, db.Close())
	st := openStore(t, file)
	d, err := st.Delivery(t.Context(), "d")
	must(t, err)
	if d.State != delivery.Working || d.TaskID != "t" || d.Version != 5 || d.Timeout != time.Minute || d.Prompt != "look" || d.Data != "{}" || d.Skipped != "" || d.Reply != nil {
		t.Errorf("%+v", d)
	}
	covered, err := st.DeliveryIncidents(t.Context(), "d", 10)
	must(t, err)
	if len(covered) != 2 || covered[0].ID != "first" || covered[1].ID != "second" {
		t.Errorf("it is about %d incidents", len(covered))
	}
	d.State, d.EndedAt = delivery.Succeeded, long
	must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{d}}))
}

// TestAStartReadsNoTextsOfWhatIsUnfinished: prompts, data and answers are most of a delivery, and a start needs none of them.
func TestAStartReadsNoTextsOfWhatIsUnfinished(t *testing.T) {
	const unfinished = 300
	st := openStore(t, newPath(t))
	must(t, st.Write(t.Context(), func(tx *Tx) error {
		for n := range unfinished {
			inc, made := recordFor(tx, fmt.Sprint("k", n), long, 1)
			d := due(inc, delivery.Working)
			d.Prompt, d.Data, d.Answer = strings.Repeat("p", delivery.MaxPrompt), strings.Repeat("d", delivery.MaxData), strings.Repeat("a", delivery.MaxAnswer)
			d.Reply, d.Error = &delivery.Reply{N: 1, Text: strings.Repeat("r", delivery.MaxReply)}, strings.Repeat("e", delivery.MaxError)
			made.Deliveries = []*delivery.Delivery{d}
			if err := tx.Save(t.Context(), made); err != nil {
				return err
			}
		}
		return nil
	}))
	if _, err := st.UnfinishedDeliveries(t.Context(), long, 1); err != nil { // its statement is prepared
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found, err := st.UnfinishedDeliveries(t.Context(), long, 10*unfinished)
	runtime.ReadMemStats(&after)
	must(t, err)
	if each := (after.TotalAlloc - before.TotalAlloc) / unfinished; len(found) != unfinished || each > 16<<10 {
		t.Errorf("%d deliveries, %d bytes each", len(found), each)
	}
}

func TestOfStalledTasksThoseThatCannotBeStoppedComeFirst(t *testing.T) {
	st := openStore(t, newPath(t))
	for i, stop := range []delivery.Stop{"", delivery.StopAsked, delivery.StopInVain, ""} {
		d := newDelivery(fmt.Sprint("d", i))
		d.State, d.StalledSince, d.Stop = delivery.Working, long.Add(time.Duration(i)*time.Minute), stop
		must(t, saveChanges(t, st, &Changes{Deliveries: []*delivery.Delivery{d}}))
	}
	got, err := st.StalledDeliveries(t.Context(), newDelivery("d").Hook, 2)
	if must(t, err); len(got) != 2 || got[0].ID != "d2" || got[1].ID != "d0" {
		t.Errorf("%+v", got)
	}
}
