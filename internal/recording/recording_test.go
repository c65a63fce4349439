package recording

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// TestWhatIsWrittenIsRead: the start that a recording tells counts, also where each Pod is much older.
func TestWhatIsWrittenIsRead(t *testing.T) {
	start := time.Date(2026, 1, 15, 10, 30, 0, 250e6, time.UTC)
	old := metav1.NewTime(start.Add(-72 * time.Hour).Truncate(time.Second))
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", CreationTimestamp: old}}
	about := About{Start: start, Khook: "v1", LeftOut: []string{"events"}}
	var file bytes.Buffer
	for _, l := range []struct {
		t      time.Duration
		of     watch.EventType
		listed bool
		object any
	}{
		{0, watch.Added, false, about}, {120 * time.Millisecond, watch.Added, true, pod}, {3 * time.Second, watch.Modified, false, pod}, {10 * time.Minute, watch.Deleted, false, about},
	} {
		line, err := Line(l.t, l.of, l.listed, l.object)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(line)
	}
	rec, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !rec.Base.Equal(start) || rec.End != 10*time.Minute || len(rec.Records) != 2 || !rec.Records[0].Listed || rec.Records[1].Listed || rec.Records[1].T != 3*time.Second {
		t.Errorf("%+v", rec)
	}
}

// TestARecordingOfAnEarlierFormIsRead: without what it says of itself, and with kinds that nobody knows.
func TestARecordingOfAnEarlierFormIsRead(t *testing.T) {
	rec, err := Read(strings.NewReader(`
{"t":1,"type":"ADDED","object":{"kind":"Recording","apiVersion":"example.com/v1","start":"1999-01-01T00:00:00Z"}}
{"t":2.5,"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"cart","creationTimestamp":"2026-01-15T10:30:00Z"}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 1, 15, 10, 29, 57, 500e6, time.UTC); !rec.Base.Equal(want) || rec.End != 0 || len(rec.Records) != 1 || rec.Records[0].Listed {
		t.Errorf("%+v", rec)
	}
}
