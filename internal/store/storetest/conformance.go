package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// Opener opens one history, as often as it is called: each Store is then another process that has it open.
type Opener func() (*store.Store, error)

// Conformance holds the histories of an engine to what khook relies on, whatever the engine. newHistory makes an empty
// history, and returns how it is opened.
func Conformance(t *testing.T, newHistory func(t *testing.T) Opener) {
	t.Helper()
	for name, test := range map[string]func(*suite){
		"an error means that nothing is recorded":     (*suite).allOrNothing,
		"what is recorded is there when opened again": (*suite).kept,
		"what is saved is read as it was":             (*suite).roundTrip,
		"a key is recorded once":                      (*suite).keys,
		"any text can be saved":                       (*suite).texts,
		"a delivery that was changed is kept":         (*suite).versions,
		"an ended incident resolves its first event":  (*suite).resolved,
		"who follows the changes misses none":         (*suite).followed,
		"a deposed leader writes nothing":             (*suite).deposed,
		"lists are filtered, in order, and counted":   (*suite).lists,
		"pages leave out nothing and repeat nothing":  (*suite).pages,
		"lists of incidents and deliveries":           (*suite).stories,
		"counters are those of what was recorded":     (*suite).counters,
		"the summaries of Hooks are those of each":    (*suite).summaries,
		"old history is deleted, what goes on is not": (*suite).prune,
		"the configurations of a hook are known":      (*suite).configurations,
		"what people pause is known until it ends":    (*suite).pauses,
		"what is told waits until it is":              (*suite).notices,
		"history goes with a configuration's key":     (*suite).renamed,
		"calls for an incident are found":             (*suite).covers,
		"what a person wants is done once":            (*suite).wishes,
		"what was taken back or refused is not done":  (*suite).wishesUndone,
		"the newest term is kept":                     (*suite).termsKept,
		"a wish is done or taken back, never both":    (*suite).wishesRace,
		"wishes that wait are bounded":                (*suite).wishesBounded,
		"a number is never used for two things":       (*suite).terms,
		"dead letters wait for a person":              (*suite).deadLetters,
		"what is not there is not found":              (*suite).missing,
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{T: t, open: newHistory(t)}
			s.st = s.opened()
			test(s)
		})
	}
}

// suite is one test, on a history of its own.
type suite struct {
	*testing.T
	open Opener
	st   *store.Store
}

// opened opens the history until the test ends.
func (s *suite) opened() *store.Store {
	s.Helper()
	st, err := s.open()
	s.must(err)
	s.Cleanup(func() { _ = st.Close() })
	return st
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// same compares what was read with what is expected.
func (s *suite) same(what string, want, got any) {
	s.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

// start is when the first of a test's events happened.
var start = time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)

var someHook = delivery.HookRef{Namespace: "shop", Name: "h"}

// observed is a signal of a Pod that has the name of the key.
func observed(key string, at time.Time) *incident.Signal {
	return &incident.Signal{
		Key: key, Kind: incident.Observed, Type: incident.PodRestart, At: at, Count: 1,
		Observation: incident.Observation{
			Resource: incident.Resource{Kind: "Pod", Namespace: someHook.Namespace, Name: key, UID: "uid-" + key},
			Workload: incident.Workload{Kind: "Deployment", Name: "cart"}, Container: "app", Node: "n1", Reason: "Error", Message: "it ended",
			Attributes: incident.Attributes{Pod: &incident.PodAttributes{RestartCount: 3, Labels: map[string]string{"app": "cart"}}},
		},
	}
}

// record is a signal's incident, with its event, what a Hook decided about it, and the delivery that is due.
func record(tx *store.Tx, sig *incident.Signal) (*incident.Incident, *store.Changes) {
	inc := incident.Open(incident.Origin{}, sig)
	ev := incident.NewEvent(inc, sig, sig.At)
	ev.ID = tx.Next()
	d := newDelivery("delivery of "+sig.Key, inc)
	return inc, &store.Changes{
		Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}, Deliveries: []*delivery.Delivery{d},
		Decisions: []delivery.Decision{{EventID: ev.ID, IncidentID: inc.ID, Hook: someHook, HookUID: "u", Config: d.Config, Disposition: delivery.Delivered, DeliveryID: d.ID, At: sig.At}},
	}
}

func newDelivery(id string, inc *incident.Incident) *delivery.Delivery {
	return &delivery.Delivery{
		ID: id, State: delivery.Pending, Hook: someHook, HookUID: "u", Config: string(inc.Type), EventType: inc.Type, Group: "Pod/" + inc.Resource.Name,
		Agent: delivery.AgentRef{Namespace: "kagent", Name: "medic"}, IncidentID: inc.ID, Prompt: "look", Timeout: time.Hour,
		CreatedAt: inc.FirstSeen, NextAt: inc.FirstSeen,
	}
}

// save saves changes in a transaction of their own.
func save(ctx context.Context, st *store.Store, c *store.Changes) error {
	return st.Write(ctx, func(tx *store.Tx) error { return tx.Save(ctx, c) })
}

// add records the signal of a key.
func (s *suite) add(st *store.Store, key string, at time.Time) (inc *incident.Incident, c *store.Changes, err error) {
	s.Helper()
	err = st.Write(s.Context(), func(tx *store.Tx) error {
		inc, c = record(tx, observed(key, at))
		return tx.Save(s.Context(), c)
	})
	return inc, c, err
}

// added is add that must work.
func (s *suite) added(key string, at time.Time) (*incident.Incident, *store.Changes) {
	s.Helper()
	inc, c, err := s.add(s.st, key, at)
	s.must(err)
	return inc, c
}

// nothingOf fails if anything of the key is recorded.
func (s *suite) nothingOf(st *store.Store, key string) {
	s.Helper()
	known, err := st.KnownKeys(s.Context(), []string{key})
	s.must(err)
	if _, err := st.Incident(s.Context(), incident.Open(incident.Origin{}, observed(key, start)).ID); known[key] || !errors.Is(err, store.ErrNotFound) {
		s.Errorf("something of %s is recorded: %v", key, err)
	}
}

func (s *suite) allOrNothing() {
	ctx, refused := s.Context(), errors.New("no")
	before, err := s.st.LastChange(ctx)
	s.must(err)
	err = s.st.Write(ctx, func(tx *store.Tx) error {
		_, c := record(tx, observed("refused", start))
		return errors.Join(tx.Save(ctx, c), refused)
	})
	if !errors.Is(err, refused) {
		s.Errorf("a write that was taken back says %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.st.Write(ctx, func(tx *store.Tx) error {
			_, c := record(tx, observed("panic", start))
			s.must(tx.Save(ctx, c))
			panic("a bug")
		})
	}()
	canceled, cancel := context.WithCancel(ctx)
	err = s.st.Write(canceled, func(tx *store.Tx) error {
		_, c := record(tx, observed("canceled", start))
		cancel()
		return tx.Save(canceled, c)
	})
	if !errors.Is(err, context.Canceled) {
		s.Errorf("a write that was canceled says %v", err)
	}
	for _, key := range []string{"refused", "panic", "canceled"} {
		s.nothingOf(s.st, key)
	}
	if after, err := s.st.LastChange(ctx); err != nil || after != before {
		s.Errorf("the change sequence went from %d to %d: %v", before, after, err)
	}
	s.added("next", start) // whatever went wrong before
	s.must(s.st.Check(ctx))
}

func (s *suite) kept() {
	ctx := s.Context()
	s.added("durable", start)
	s.must(s.st.WriteRelaxed(ctx, func(tx *store.Tx) error {
		_, c := record(tx, observed("relaxed", start))
		return tx.Save(ctx, c)
	}))
	last, err := s.st.LastChange(ctx)
	s.must(err)
	s.must(s.st.Close())
	if _, _, err := s.add(s.st, "closed", start); err == nil {
		s.Error("a closed history says that it has recorded something")
	}
	s.st = s.opened()
	known, err := s.st.KnownKeys(ctx, []string{"durable", "relaxed", "closed"})
	s.must(err)
	s.same("what is recorded", map[string]bool{"durable": true, "relaxed": true}, known)
	if again, err := s.st.LastChange(ctx); err != nil || again != last {
		s.Errorf("the change sequence was at %d and is at %d: %v", last, again, err)
	}
	if size, err := s.st.Size(ctx); err != nil || size <= 0 {
		s.Errorf("it takes %d bytes: %v", size, err)
	}
}

func (s *suite) keys() {
	ctx := s.Context()
	s.added("k", start)
	_, _, err := s.add(s.st, "k", start.Add(time.Minute))
	if fault, atFault := store.FaultOf(err); !atFault || fault != incident.BadConstraint {
		s.Errorf("a key that is there already: %v", err)
	}
	many := []string{"k"}
	for i := range 250 { // several statements
		many = append(many, fmt.Sprint("unknown ", i))
	}
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		known, err := tx.KnownKeys(ctx, many)
		s.same("known keys", map[string]bool{"k": true}, known)
		return err
	}))
	s.must(s.st.Probe(ctx))
	if all, err := s.st.AllIncidents(ctx, 10); err != nil || len(all) != 1 {
		s.Errorf("%d incidents are recorded after a probe: %v", len(all), err)
	}
}

func (s *suite) texts() {
	ctx := s.Context()
	sig := observed("text\x00with\xffall", start)
	sig.Message = "NUL \x00, no UTF-8 \xc3\x28, ' \" ; -- ? $1 %s \\ \U0001F680"
	s.must(s.st.Write(ctx, func(tx *store.Tx) error {
		_, c := record(tx, sig)
		return tx.Save(ctx, c)
	}))
	known, err := s.st.KnownKeys(ctx, []string{sig.Key})
	s.must(err)
	if len(known) != 1 {
		s.Error("a key is not found as it was written")
	}
	found, err := s.st.AllIncidents(ctx, 10)
	s.must(err)
	if want := "NUL \uFFFD, no UTF-8 \uFFFD(, ' \" ; -- ? $1 %s \\ \U0001F680"; len(found) != 1 || found[0].Message != want {
		s.Errorf("%d incidents: %+v", len(found), found)
	}
}

func (s *suite) missing() {
	ctx := s.Context()
	_, ofKhook := s.st.Incident(ctx, "none")
	_, ofPeople := s.st.Reader().Incident(ctx, "none")
	_, dl := s.st.Delivery(ctx, "none")
	inTx := s.st.Write(ctx, func(tx *store.Tx) error { _, err := tx.Delivery(ctx, "none"); return err })
	for _, err := range []error{ofKhook, ofPeople, dl, inTx} {
		if !errors.Is(err, store.ErrNotFound) {
			s.Errorf("it is said to be %v", err)
		}
	}
}
