package store

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store/engine"
)

// FaultOf says whether a write failed because of what a row says, so that it would fail again however
// often it is tried, and what is wrong with it. A full disk, a lock, an outage, damage and a leader that
// was deposed are no such faults: they pass, or a person ends them, and what could not be written then
// is written later. Which errors are faults the engine says; what it doesn't know is none.
func FaultOf(err error) (incident.Fault, bool) {
	if row := (*engine.RowError)(nil); errors.As(err, &row) {
		return row.Fault, true
	}
	var value *json.UnsupportedValueError
	var kind *json.UnsupportedTypeError
	var marshal *json.MarshalerError
	if errors.As(err, &value) || errors.As(err, &kind) || errors.As(err, &marshal) {
		return incident.BadEncoding, true
	}
	return "", false
}

// errProbed takes a probe back.
var errProbed = errors.New("the probe is taken back")

// Probe proves that rows can be saved: it writes an ordinary one into each table that a signal
// changes, and takes them back. Where it fails too, a row that could not be saved is not at fault.
func (s *Store) Probe(ctx context.Context) error {
	now := s.cfg.Clock.Now()
	signal := &incident.Signal{
		Key: "khook probe " + now.Format(time.RFC3339Nano), Kind: incident.Observed, Type: incident.PodRestart, At: now, Count: 1, Observation: incident.Observation{
			Reason: "Probe", Resource: incident.Resource{Kind: "Pod", Namespace: "khook-probe", Name: "probe", UID: "probe"},
			Workload: incident.Workload{Kind: "Pod", Name: "probe"},
		},
	}
	err := s.WriteRelaxed(ctx, func(tx *Tx) error {
		inc := incident.Open(s.cluster.Origin(), signal)
		ev := incident.NewEvent(inc, signal, now)
		ev.ID = tx.NextEvent()
		ref := delivery.HookRef{Namespace: "khook-probe", Name: "probe"}
		d := &delivery.Delivery{
			ID: incident.DeriveID("delivery", signal.Key), Cluster: s.cluster.Name, State: delivery.Pending, Hook: ref, HookUID: "probe", Config: "probe",
			EventType: signal.Type, Group: "Pod/probe", Agent: delivery.AgentRef(ref), IncidentID: inc.ID, Prompt: "probe", CreatedAt: now, NextAt: now,
		}
		if err := tx.Save(ctx, &Changes{
			Events: []*incident.Event{ev}, Incidents: []*incident.Incident{inc}, Deliveries: []*delivery.Delivery{d},
			Decisions: []delivery.Decision{{EventID: ev.ID, IncidentID: inc.ID, Hook: ref, HookUID: "probe", Config: "probe", Disposition: delivery.Delivered, DeliveryID: d.ID, At: now}},
			Groups:    []*delivery.GroupState{{GroupKey: d.Key(), HookUID: "probe"}},
		}); err != nil {
			return err
		}
		return errProbed
	})
	if errors.Is(err, errProbed) {
		return nil
	}
	if _, atFault := FaultOf(err); atFault {
		writeErrors.Inc() // an ordinary row can't be saved: so nothing can
	}
	return err
}

// storable makes the texts of a statement's arguments fit for SQL: valid UTF-8 without NUL, which
// PostgreSQL takes in no text. What is written and what is looked up goes through it alike, so that a
// key is found as it was written. It is the last door; what comes from outside is cleaned before.
func storable(args []any) []any {
	copied := false
	for i, arg := range args {
		text, ok := arg.(string)
		if !ok || utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
			continue
		}
		if !copied {
			args, copied = append([]any(nil), args...), true
		}
		args[i] = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	}
	return args
}
