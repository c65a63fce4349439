package kagenttest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/kagent-dev/khook/internal/delivery"
)

// Fault spoils the answer to one request.
type Fault struct {
	On       string            // the kind of request, such as Send; "" for any
	Agent    string            // "namespace/name" of the one whose requests it spoils; "" for any, and those to none
	Times    int               // how many requests it spoils; 0 for 1, negative for all
	Accept   bool              // the request is served first, then its answer is lost
	Drop     bool              // the connection is closed without an answer
	Hang     bool              // there is no answer until the client gives up
	Status   int               // of the answer instead; 0 for 200
	Header   map[string]string // of the answer instead
	Body     string            // of the answer instead
	Huge     int64             // at least that many bytes of white space before Body
	CutAfter int               // with Accept: that many bytes of the true answer, then Drop
}

// faults waits for the requests to spoil, first come, first served.
type faults struct {
	mu      sync.Mutex
	pending []Fault
}

// Inject adds a fault.
func (s *Server) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = append(s.faults.pending, f)
}

// Heal removes all faults.
func (s *Server) Heal() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.pending = nil
}

func (f *faults) next(kind string, ref delivery.AgentRef) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.pending {
		p := &f.pending[i]
		if p.Times == 0 || p.On != "" && p.On != kind || p.Agent != "" && p.Agent != ref.String() {
			continue
		}
		if p.Times > 0 {
			p.Times--
		}
		return *p, true
	}
	return Fault{}, false
}

// faulty serves the request, or spoils its answer.
func (s *Server) faulty(w http.ResponseWriter, r *http.Request, kind string, ref delivery.AgentRef, serve func(http.ResponseWriter)) {
	fault, ok := s.faults.next(kind, ref)
	if !ok {
		serve(w)
		return
	}
	var truth []byte
	if fault.Accept {
		lost := &lostAnswer{header: http.Header{}}
		serve(lost)
		truth = lost.body.Bytes()
	}
	switch {
	case fault.Hang:
		select {
		case <-r.Context().Done():
		case <-s.over.Done():
		}
	case fault.Drop:
		if fault.CutAfter > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(truth)))
			_, _ = w.Write(truth[:min(fault.CutAfter, len(truth))])
		}
		panic(http.ErrAbortHandler)
	default:
		fault.answer(w)
	}
}

func (f Fault) answer(w http.ResponseWriter) {
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	if f.Status != 0 {
		w.WriteHeader(f.Status)
	}
	blanks := strings.Repeat(" ", 64<<10)
	for left := f.Huge; left > 0; left -= int64(len(blanks)) {
		if _, err := io.WriteString(w, blanks); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, f.Body)
}

// lostAnswer takes an answer that the client will not get.
type lostAnswer struct {
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (l *lostAnswer) Header() http.Header { return l.header }

// WriteHeader implements http.ResponseWriter.
func (l *lostAnswer) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (l *lostAnswer) Write(p []byte) (int, error) { return l.body.Write(p) }

// Flush implements http.Flusher.
func (l *lostAnswer) Flush() {}
