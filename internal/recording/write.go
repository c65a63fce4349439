package recording

import (
	"encoding/json"
	"math"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// About is what a recording says of itself: as ADDED when it starts, and as DELETED when it ends. Who reads it learns when it
// started, which the objects tell only if one was made meanwhile, and until when nothing more came.
type About struct {
	metav1.TypeMeta `json:",inline"`
	Start           time.Time `json:"start"` // by the clock of the API server
	Khook           string    `json:"khook,omitempty"`
	Namespaces      []string  `json:"namespaces,omitempty"` // all if empty
	Selector        string    `json:"selector,omitempty"`
	Anonymized      bool      `json:"anonymized,omitempty"`
	LeftOut         []string  `json:"leftOut,omitempty"` // what was not recorded, and why
}

var aboutMeta = metav1.TypeMeta{Kind: "Recording", APIVersion: "khook.kagent.dev/v1"}

// Line is one line of a recording, with its end.
func Line(t time.Duration, of watch.EventType, listed bool, object any) ([]byte, error) {
	if about, ok := object.(About); ok {
		about.TypeMeta = aboutMeta
		object = about
	}
	line, err := json.Marshal(struct {
		T      float64         `json:"t"`
		Type   watch.EventType `json:"type"`
		Listed bool            `json:"listed,omitempty"`
		Object any             `json:"object"`
	}{math.Round(t.Seconds()*1000) / 1000, of, listed, object})
	return append(line, '\n'), err
}
