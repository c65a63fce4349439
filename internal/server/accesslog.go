package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/kagent-dev/khook/internal/limit"
)

// Each request is a line in the log, as long as they are not too many: so many lines are written in a
// second, and at once. What is refused has fewer, for anybody can be refused, and fewer still for each
// client. What is left out is counted, and the counts are a line every tellSkipped.
const (
	servedRate, servedBurst   = 100, 1000
	refusedRate, refusedBurst = 5, 100
	eachRate, eachBurst       = 0.2, 20
	tellSkipped               = 10 * time.Second
	maxLogClients             = 1000 // that are told apart
)

// accessLog writes a line for each request, within bounds.
type accessLog struct {
	log             logr.Logger
	served, refused *rate.Limiter

	mu      sync.Mutex
	clients *limit.Clients // what is refused of each
	skipped map[int]int64
	of      map[string]bool // clients whose requests were left out; at most maxLogClients
	since   time.Time       // of the counts
}

func newAccessLog(log logr.Logger) *accessLog {
	return &accessLog{
		log: log, served: rate.NewLimiter(servedRate, servedBurst), refused: rate.NewLimiter(refusedRate, refusedBurst),
		clients: limit.NewClients(eachRate, eachBurst, maxLogClients), skipped: map[int]int64{}, of: map[string]bool{}, since: time.Now(),
	}
}

// write writes the line about a request, or counts it.
func (l *accessLog) write(level, code int, client string, keysAndValues ...any) {
	log := l.log.V(level)
	if !log.Enabled() {
		return
	}
	if !l.allow(code, client) {
		return
	}
	log.Info("request", keysAndValues...)
}

func (l *accessLog) allow(code int, client string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.since) >= tellSkipped {
		l.tell()
	}
	if code < http.StatusBadRequest && l.served.Allow() {
		return true
	}
	if code >= http.StatusBadRequest {
		if _, ok := l.clients.Allow(client); ok && l.refused.Allow() {
			return true
		}
	}
	l.skipped[code]++
	if len(l.of) < maxLogClients {
		l.of[client] = true
	}
	return false
}

// flush tells what was left out.
func (l *accessLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tell()
}

func (l *accessLog) tell() {
	if len(l.skipped) > 0 {
		var sum int64
		var byStatus []string
		for _, code := range slices.Sorted(maps.Keys(l.skipped)) {
			sum += l.skipped[code]
			byStatus = append(byStatus, fmt.Sprintf("%d: %d", code, l.skipped[code]))
		}
		clients := fmt.Sprint(len(l.of))
		if len(l.of) == maxLogClients {
			clients += " or more"
		}
		l.log.Info("further requests, which were too many for a line each", "requests", sum, "byStatus", strings.Join(byStatus, ", "), "clients", clients, "since", l.since.UTC().Format(time.RFC3339))
		clear(l.skipped)
		clear(l.of)
	}
	l.since = time.Now()
}
