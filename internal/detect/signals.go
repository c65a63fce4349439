package detect

import (
	"time"

	"github.com/kagent-dev/khook/internal/incident"
)

// builder collects the signals of one look at a Pod.
type builder struct {
	d       *Detector
	key     podKey
	pod     *podState
	now     time.Time
	catchUp bool // nothing was known of the Pod: what it tells may be old
	signals []incident.Signal
}

// observe adds an occurrence, and opens or keeps open its slot.
func (b *builder) observe(s incident.Signal) {
	s.Kind = incident.Observed
	s.Resource = b.pod.resource(b.key)
	s.Workload = b.pod.workload.Value()
	s.Node = b.pod.node.Value()
	s.Labels = b.pod.labelMap()
	s.Reason = incident.Clean(s.Reason, incident.MaxReason)
	s.Message = incident.Clean(s.Message, incident.MaxMessage)
	s.CatchUp = b.catchUp
	s.Count = max(1, s.Count)
	if s.At.After(b.now) {
		s.At = b.now // a node's clock may be ahead
	}
	b.signals = append(b.signals, s)
	b.slotOf(s.Type, s.Container).told = b.now
}

func (b *builder) slotOf(t incident.EventType, container string) *openState {
	tr := b.d.troubleOf(b.key)
	k := slot{t, container}
	if tr.open[k] == nil {
		tr.open[k] = &openState{}
	}
	return tr.open[k]
}

// isOpen says whether an incident is open, as far as the detector knows.
func (b *builder) isOpen(t incident.EventType, container string) bool {
	tr := b.d.trouble[b.key]
	return tr != nil && tr.open[slot{t, container}] != nil
}

// sign adds a signal about an open slot.
func (b *builder) sign(kind incident.SignalKind, s slot, at time.Time) {
	b.signals = append(b.signals, incident.Signal{
		Kind: kind, Type: s.kind, Container: s.container, At: at,
		Resource: b.pod.resource(b.key), Workload: b.pod.workload.Value(), Node: b.pod.node.Value(), Labels: b.pod.labelMap(),
	})
}

// tooOld says whether what happened at t is beyond what is caught up with at a start.
func (b *builder) tooOld(t time.Time) bool {
	return b.catchUp && t.Before(b.d.start(b.now).Add(-b.d.timing.CatchUp))
}

// start is when khook started; now, if nobody said.
func (d *Detector) start(now time.Time) time.Time {
	if d.timing.Start.IsZero() {
		return now
	}
	return d.timing.Start
}
