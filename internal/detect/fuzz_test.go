package detect

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/recording"
)

// recordedLines returns some lines of each recording.
func recordedLines(f *testing.F) [][]byte {
	var all [][]byte
	for _, name := range recordingNames(f) {
		raw, err := os.ReadFile(filepath.Join(recordings, name+".jsonl"))
		if err != nil {
			f.Fatal(err)
		}
		split := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
		for i := 0; i < len(split); i += 1 + len(split)/5 {
			all = append(all, split[i])
		}
	}
	return all
}

// sane holds a signal against what others rely on.
func sane(t *testing.T, s incident.Signal, now time.Time) {
	t.Helper()
	if s.Kind == incident.Observed && (s.Key == "" || !s.Type.Valid() || s.Count < 1 || s.At.After(now)) {
		t.Errorf("not a sound occurrence: %+v", s)
	}
	if len(s.Message) > incident.MaxMessage || len(s.Reason) > incident.MaxReason || len(s.Key) > 253 || !utf8.ValidString(s.Message) {
		t.Errorf("key of %d bytes, reason of %d, message of %d", len(s.Key), len(s.Reason), len(s.Message))
	}
}

func FuzzReadRecording(f *testing.F) {
	for _, line := range recordedLines(f) {
		f.Add(line)
	}
	f.Add([]byte("{\"t\":0,\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\"}}\n\n{\"t\":1,\"type\":\"DELETED\",\"object\":{\"kind\":\"Pod\"}}"))
	f.Add([]byte(`{"t":1e300,"type":"ADDED","object":null}`))
	f.Add([]byte(`{"t":0,"type":"ADDED","object":{"kind":"Recording","apiVersion":"khook.kagent.dev/v1","start":"2026-01-15T10:30:00Z"}}
{"t":0.1,"type":"ADDED","listed":true,"object":{"kind":"Pod","metadata":{"uid":"a","name":"a","creationTimestamp":"2026-01-15T10:00:00Z"},"status":{"phase":"Pending"}}}
{"t":900,"type":"DELETED","object":{"kind":"Recording","apiVersion":"khook.kagent.dev/v1","start":"9999-12-31T23:59:59Z"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := recording.Read(bytes.NewReader(raw))
		if err != nil {
			return
		}
		err = Play(rec, Timing{}, 10*time.Minute, func(now time.Time, signals []incident.Signal) error {
			for _, s := range signals {
				sane(t, s, now)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// FuzzDetector lets two objects of a mangled cluster follow each other.
func FuzzDetector(f *testing.F) {
	all := recordedLines(f)
	for i, line := range all {
		f.Add(line, all[(i+1)%len(all)], uint16(i*17), i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, seconds uint16, catchUp bool) {
		d := New(Timing{Start: noon})
		now, told := noon, 0
		look := func(signals []incident.Signal) {
			told += len(signals)
			for _, s := range signals {
				sane(t, s, now)
			}
		}
		for _, raw := range [][]byte{first, second, first} {
			var line struct{ Object json.RawMessage }
			if json.Unmarshal(raw, &line) != nil {
				return
			}
			pod, ev := &corev1.Pod{}, &eventsv1.Event{}
			if json.Unmarshal(line.Object, pod) == nil {
				look(d.Pod(now, watch.Modified, pod, catchUp))
			}
			if json.Unmarshal(line.Object, ev) == nil {
				look(d.Event(now, watch.Modified, ev, catchUp))
			}
			until := now.Add(time.Duration(seconds) * time.Second)
			for n := 0; ; n++ {
				due, ok := d.Next()
				if !ok || due.After(until) {
					break
				}
				if n > 2*int(seconds)+100 {
					t.Fatal("the timers never come to rest")
				}
				now = latest(now, due)
				look(d.Tick(now))
			}
			now = until
		}
		if limit := 200 + len(first) + len(second) + 3*int(seconds); told > limit {
			t.Errorf("%d signals of 3 objects", told)
		}
	})
}
