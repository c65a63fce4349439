package incident

import "time"

// DeadLetter is a signal that could not be recorded because of what it says, and was put aside so that
// the others could be.
type DeadLetter struct {
	ID       string    `json:"id"` // derived from the signal: put aside again, it is the same letter
	FirstAt  time.Time `json:"firstAt"`
	LastAt   time.Time `json:"lastAt"` // when it was put aside last
	Times    int64     `json:"times"`  // it was put aside
	Fault    Fault     `json:"fault"`
	Error    string    `json:"error"`    // that the history gave
	Recorded bool      `json:"recorded"` // the event is recorded, and only the calls for it are not made
	Wanted   bool      `json:"wanted"`   // a person wants it to be tried again
	Signal   Signal    `json:"signal"`
}

// Fault is what is wrong with a row that can't be saved.
type Fault string

// The faults.
const (
	BadConstraint Fault = "constraint" // it breaks a rule of its table
	BadEncoding   Fault = "encoding"   // a text or a value of it can't be written
	BadSize       Fault = "size"       // it is too large
)

// Faults are all of them.
func Faults() []Fault { return []Fault{BadConstraint, BadEncoding, BadSize} }

// MaxDeadLetterError bounds DeadLetter.Error, in bytes.
const MaxDeadLetterError = 512

// NewDeadLetter returns the letter of a signal that could not be recorded at now.
func NewDeadLetter(from Origin, s Signal, fault Fault, err error, now time.Time) *DeadLetter {
	what := s.Key
	if s.Kind != Observed {
		what = s.Resource.UID + " " + string(s.Type) + " " + s.Container
	}
	return &DeadLetter{
		ID:      DeriveID("dead letter", from.Salt, string(s.Kind), what),
		FirstAt: now, LastAt: now, Times: 1, Fault: fault, Error: Clean(err.Error(), MaxDeadLetterError), Signal: s,
	}
}
