// Package skew tells how far the clock of this machine is from a server's, by the dates of its answers.
//
// It judges nothing: what is too far is for who asks.
package skew

import (
	"net/http"
	"sync"
	"time"
)

// Meter looks at the first answer of a server. It is safe for concurrent use.
type Meter struct {
	mu     sync.Mutex
	known  bool
	ahead  time.Duration
	within time.Duration
}

// Ahead is how far this machine's clock is ahead of the server's, and how exact that is; false before an answer with a date.
func (m *Meter) Ahead() (ahead, within time.Duration, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ahead, m.within, m.known
}

// Wrap is a transport whose answers the meter looks at.
func (m *Meter) Wrap(next http.RoundTripper) http.RoundTripper { return metered{m, next} }

func (m *Meter) note(sent time.Time, took time.Duration, date string) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		// The header has whole seconds: the answer was made within the second that begins then, and while it was waited for.
		m.known, m.ahead, m.within = true, sent.Add(took/2).Sub(at.Add(time.Second/2)), took/2+time.Second/2
	}
}

type metered struct {
	meter *Meter
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (m metered) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := m.next.RoundTrip(r)
	if err == nil {
		m.meter.note(sent, time.Since(sent), resp.Header.Get("Date"))
	}
	return resp, err
}
