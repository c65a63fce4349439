// Package recording reads what a cluster said about some Pods, as test/recordings holds it. It knows
// the form of the file and nothing of what it means: internal/detect plays it.
package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// maxLine bounds a line of a recording, in bytes: an object of the API server has at most 1.5 MiB.
const maxLine = 4 << 20

// Record is one watch event of a recording. One of Pod and Event is set.
type Record struct {
	T      time.Duration // since the start of the recording
	Type   watch.EventType
	Listed bool // it was there before the recording began
	Pod    *corev1.Pod
	Event  *eventsv1.Event

	about *About // instead of both: what the recording says of itself
}

// Recording is what a cluster said about some Pods.
type Recording struct {
	Base    time.Time     // when the recording started, by the clock of the cluster
	Records []Record      // in order of arrival
	End     time.Duration // until when it was watched, since the start; 0 if the recording does not say
}

// Read reads a recording: a JSON object a line, {"t": seconds, "type": "ADDED", "object":
// {...}}, with Pods and Events of events.k8s.io/v1; "listed": true marks those that were there before. What it says
// of itself, an About, need not be there. Empty lines and other kinds are passed over. The error names the line.
func Read(r io.Reader) (*Recording, error) {
	rec := &Recording{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<16), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		record, err := readRecord(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if record.about != nil {
			rec.tells(record)
			continue
		}
		if record.Pod == nil && record.Event == nil {
			continue
		}
		if last := len(rec.Records) - 1; last >= 0 && record.T < rec.Records[last].T {
			return nil, fmt.Errorf("line %d: time goes back from %s to %s", n, rec.Records[last].T, record.T)
		}
		rec.Records = append(rec.Records, record)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w (a line may have %d MiB)", n+1, err, maxLine>>20)
	}
	if len(rec.Records) == 0 {
		return nil, errors.New("there is no Pod and no Event in it")
	}
	if rec.Base.IsZero() {
		rec.Base = base(rec.Records)
	}
	return rec, nil
}

// tells takes over what a recording says of itself.
func (r *Recording) tells(of Record) {
	if of.Type == watch.Deleted {
		r.End = max(r.End, of.T)
	} else if start := of.about.Start; !start.IsZero() {
		r.Base = start.UTC()
	}
}

func readRecord(line []byte) (Record, error) {
	var raw struct {
		T      *float64        `json:"t"`
		Type   watch.EventType `json:"type"`
		Listed bool            `json:"listed"`
		Object json.RawMessage `json:"object"`
	}
	if bytes.HasPrefix(line, []byte{0x1f, 0x8b}) {
		return Record{}, errors.New("the file is compressed: unpack it first")
	}
	if err := json.Unmarshal(line, &raw); err != nil {
		return Record{}, err
	}
	if raw.T == nil || *raw.T < -1 || *raw.T > 1e9 {
		return Record{}, errors.New(`"t" must be seconds since the start of the recording`)
	}
	switch raw.Type {
	case watch.Added, watch.Modified, watch.Deleted:
	case watch.Bookmark, watch.Error:
		return Record{}, nil // says nothing of an object
	default:
		return Record{}, fmt.Errorf(`"type" is %q: it must be ADDED, MODIFIED or DELETED`, raw.Type)
	}
	if len(raw.Object) == 0 {
		return Record{}, errors.New(`"object" is missing`)
	}
	record := Record{T: time.Duration(*raw.T * float64(time.Second)), Type: raw.Type, Listed: raw.Listed}
	var meta metav1.TypeMeta
	if err := json.Unmarshal(raw.Object, &meta); err != nil {
		return Record{}, fmt.Errorf("object: %w", err)
	}
	var err error
	switch {
	case meta.Kind == "Pod":
		record.Pod = &corev1.Pod{}
		err = json.Unmarshal(raw.Object, record.Pod)
	case meta.Kind == "Event" && meta.APIVersion == "v1":
		old := &corev1.Event{}
		err = json.Unmarshal(raw.Object, old)
		record.Event = fromCore(old)
	case meta == aboutMeta:
		record.about = &About{}
		err = json.Unmarshal(raw.Object, record.about)
	case meta.Kind == "Event":
		record.Event = &eventsv1.Event{}
		err = json.Unmarshal(raw.Object, record.Event)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", meta.Kind, err)
	}
	return record, nil
}

// fromCore reads an Event of the older API, which holds the same under other names.
func fromCore(e *corev1.Event) *eventsv1.Event {
	ev := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, Type: e.Type, Reason: e.Reason, Note: e.Message, Action: e.Action,
		Regarding: e.InvolvedObject, Related: e.Related, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		DeprecatedSource: e.Source, DeprecatedCount: e.Count, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
	}
	if e.Series != nil {
		ev.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return ev
}

// base finds when the recording started: so that nothing was seen before it was made. The times
// are those of the API server, to the second; the clock of a node may be off.
func base(records []Record) time.Time {
	var b time.Time
	for _, r := range records {
		at := created(r)
		if !at.IsZero() && at.Add(-r.T).After(b) {
			b = at.Add(-r.T)
		}
	}
	if b.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return b.UTC()
}

// created is when the API server took the record's object.
func created(r Record) time.Time {
	if r.Event != nil {
		return r.Event.CreationTimestamp.Time
	}
	return r.Pod.CreationTimestamp.Time
}

// Namespace is the namespace of the first Pod, or of the first Event.
func (r *Recording) Namespace() string {
	for _, record := range r.Records {
		if record.Pod != nil {
			return record.Pod.Namespace
		}
	}
	for _, record := range r.Records {
		if record.Event != nil {
			return record.Event.Regarding.Namespace
		}
	}
	return ""
}
