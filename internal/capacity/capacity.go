// Package capacity adds up everything that khook may hold in memory at the same time, and shrinks it
// to the memory that there is.
//
// Each bound of khook that costs memory is a Bound of the Plan: what one of it costs, how many are
// wanted at most, and how few khook can work with. The costs are measured by tests beside the code
// that causes them. What is wanted is what fits into much memory; in less of it each bound gets what
// it needs at least and a share of the rest. Detection is served first: only if its least does not
// fit, there is no plan.
//
// It measures nothing and enforces nothing but its gates: a bound is kept by who owns what it bounds.
package capacity

import (
	"fmt"
	"math"
)

// Memory is what there is, in bytes; zero values mean no limit.
type Memory struct {
	Go      int64 // of the Go runtime: GOMEMLIMIT
	Outside int64 // beside it, for SQLite's caches: what the container may have beyond the Go runtime's
}

// usable is the part of Go's memory that may be full of live data. The rest is for what lies
// between two runs of the garbage collector, and for fragmentation: without it the collector would
// have to run all the time.
const usable = 0.9

// What one of each costs, in bytes: heap that is live, and stacks.
const (
	// Base is khook without anything to do, which is about 10 MiB: clients of Kubernetes, CEL environments, the
	// CRD's schema, metrics (test/system: TestWhatTheControllerNeedsToStart); 2 MiB of patterns that match
	// expressions made (internal/hook: maxKeptSteps); 3 MiB of connections to the ports of the metrics and the
	// probes; and what compiling one Hook's expressions holds at a time.
	Base = 26 << 20

	Pod      = 350       // internal/kube: BenchmarkPodMemory
	Incident = 3 << 10   // that is open, with its place in the ledger's indexes (internal/ledger)
	Signal   = 2 << 10   // that waits to be recorded, and its share of a batch under way (internal/kube)
	Inboxed  = 16 << 10  // change of a Pod as the watch brought it, not yet looked at
	Hook     = 48 << 10  // with its compiled expressions and prompts
	Worker   = 1 << 20   // of dispatch: a delivery with prompt, data, answer and what its agent said
	Call     = 256 << 10 // of dispatch: a delivery with its request, which waits for an answer

	// internal/server: TestWhatConnectionsCost, TestWhatStreamsCost. With TLS a connection costs
	// TLSConnection more.
	Connection    = 24 << 10
	TLSConnection = 40 << 10
	Stream        = 72 << 10 // beyond its connection; with messages that its maxRate holds back
	CatchUp       = 2 << 20  // messages that one stream has read from the history and is writing
	TailByte      = 3        // of a message in the feed's tail: the frame, and the event itself
	Caller        = 3 << 10  // a caller, his address, his token, a bad one, and two rights (internal/server: TestWhatRememberingACallerCosts)

	ValidatedByte = 320 // of manifests that are checked (internal/server: TestWhatAValidationCosts)

	// internal/agent: TestWhatReadingAnAnswerCosts.
	AnswerByte   = 3         // of an answer that is being received
	DecodedByte  = 6         // of an answer that is being read
	DecodedValue = 192       // each value in it beside its bytes: an object, a list, a text, a number
	Follower     = 384 << 10 // a stream that is read, with one event that is being received
)

// The buffers that the system is asked for, for each connection of the HTTP API, in bytes. It takes
// twice as much, outside of Go's memory.
const (
	WriteBuffer = 16 << 10
	ReadBuffer  = 8 << 10
	sockets     = 2 * (WriteBuffer + ReadBuffer)
)

// Wanted is what the settings ask for.
type Wanted struct {
	Streams     int  // live streams; 0 for as many as fit, up to DefaultStreams
	Connections int  // of the HTTP API; 0 for as many as fit, up to DefaultConnections
	TLS         bool // of the HTTP API
}

// The most that is of use, whatever memory there is.
const (
	DefaultStreams     = 10_000
	DefaultConnections = 20_000
	MaxManifests       = 256 << 10 // bytes of one text with Hooks
	MaxAnswer          = 2 << 20   // bytes of one answer of an agent
	MaxNews            = 64 << 10  // bytes of one event of a stream of an agent
	sqliteCache        = 16_000 << 10
)

// Name says what a Bound is of; it is the label of a metric.
type Name string

// The bounds.
const (
	Baseline    Name = "base"
	Pods        Name = "pods"
	Incidents   Name = "open-incidents"
	Signals     Name = "signals"
	Inbox       Name = "watch-inbox"
	Hooks       Name = "hooks"
	Workers     Name = "delivery-steps"
	Calls       Name = "delivery-calls"
	Connections Name = "connections"
	Streams     Name = "streams"
	CatchUps    Name = "stream-catch-ups"
	Tail        Name = "feed-bytes"
	Callers     Name = "callers"
	Responses   Name = "response-bytes"
	Bodies      Name = "body-bytes"
	Validations Name = "validation-bytes"
	Answers     Name = "agent-answer-bytes"
	Decoding    Name = "agent-answer-memory-bytes"
	Followers   Name = "agent-streams"
)

// Bound is one of the bounds of a Plan.
type Bound struct {
	Name    Name
	What    string // for people
	Cost    int64  // bytes of memory that one takes
	Want    int64  // more is never allowed
	Least   int64  // fewer are of no use
	N       int64  // the bound
	Planned bool   // nothing holds it back: it is how large the cluster may be
	share   int64  // of what is left when everything has its least
}

// Bytes is what it takes at most.
func (b *Bound) Bytes() int64 { return b.Cost * b.N }

// Plan is how khook spends its memory.
type Plan struct {
	Memory Memory
	Bounds []Bound
	wanted Wanted
}

// TooSmallError is returned by New when detection does not fit.
type TooSmallError struct{ Limit, Needed int64 }

func (e *TooSmallError) Error() string {
	return fmt.Sprintf("the memory limit leaves Go %s, and khook needs at least %d MiB to watch a cluster: raise the container's limit to %d MiB or more (chart: resources.limits.memory), or GOMEMLIMIT",
		Text(e.Limit), wholeMiB(e.Needed), wholeMiB(e.Needed*4/3))
}

// wholeMiB rounds up: what is asked for must be enough.
func wholeMiB(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

// New makes the plan for a memory. The error is a TooSmallError.
func New(m Memory, w Wanted) (*Plan, error) {
	p := &Plan{Memory: m, Bounds: bounds(w), wanted: w}
	if m.Go == 0 {
		for i := range p.Bounds {
			p.Bounds[i].N = p.Bounds[i].Want
		}
		p.balance()
		return p, nil
	}
	left := int64(float64(m.Go) * usable)
	for i := range p.Bounds {
		b := &p.Bounds[i]
		b.N = min(b.Least, b.Want)
		left -= b.Bytes()
	}
	if left < 0 {
		needed := int64(math.Ceil(float64(p.Sum()) / usable))
		return nil, &TooSmallError{m.Go, needed}
	}
	p.spread(left)
	p.balance()
	return p, nil
}

// balance takes back what would be of no use: a stream needs a connection, and others need some too. And
// what the system keeps of connections is outside of Go's memory.
func (p *Plan) balance() {
	if outside := p.Memory.Outside; outside > 0 {
		connections := &p.Bounds[p.index(Connections)]
		connections.N = max(1, min(connections.N, (outside-p.SQLiteCache()*sqliteConnections)/sockets))
	}
	streams := &p.Bounds[p.index(Streams)]
	streams.N = min(streams.N, max(1, p.N(Connections)*3/4))
}

// spread gives each bound its share of what is left, and what one does not want to the others.
func (p *Plan) spread(left int64) {
	for range len(p.Bounds) {
		var shares int64
		for i := range p.Bounds {
			if b := &p.Bounds[i]; b.N < b.Want {
				shares += b.share
			}
		}
		if shares == 0 {
			return
		}
		given := int64(0)
		for i := range p.Bounds {
			b := &p.Bounds[i]
			if b.N >= b.Want {
				continue
			}
			more := min(left*b.share/shares/b.Cost, b.Want-b.N)
			b.N += more
			given += more * b.Cost
		}
		if left -= given; given == 0 {
			return
		}
	}
}

func bounds(w Wanted) []Bound {
	connection := int64(Connection)
	if w.TLS {
		connection += TLSConnection
	}
	or := func(n, unset int) int64 {
		if n == 0 {
			n = unset
		}
		return int64(n)
	}
	return []Bound{
		{Name: Baseline, What: "khook itself, with nothing to do", Cost: Base, Want: 1, Least: 1, Planned: true},
		{Name: Pods, What: "Pods of the cluster", Cost: Pod, Want: 200_000, Least: 5_000, share: 6, Planned: true},
		{Name: Incidents, What: "incidents that are open", Cost: Incident, Want: 40_000, Least: 500, share: 9, Planned: true},
		{Name: Hooks, What: "Hooks", Cost: Hook, Want: 1_000, Least: 20, share: 4, Planned: true},
		{Name: Inbox, What: "changes of Pods that were not looked at yet; then the watch waits", Cost: Inboxed, Want: 1024, Least: 64, share: 5},
		{Name: Signals, What: "signals that wait to be recorded; then the watches wait", Cost: Signal, Want: 20_000, Least: 500, share: 9},
		{Name: Workers, What: "steps of deliveries at the same time; then they wait", Cost: Worker, Want: 16, Least: 1, share: 5},
		{Name: Calls, What: "steps of deliveries under way, most of which wait for an answer of their agent; then others wait", Cost: Call, Want: 128, Least: 1, share: 5},
		{Name: Answers, What: "bytes of long answers of agents being received; then the others wait", Cost: AnswerByte, Want: 64 << 20, Least: 256 << 10, share: 7},
		{Name: Decoding, What: "memory for reading answers of agents; then reading waits", Cost: 1, Want: 512 << 20, Least: 2 << 20, share: 14},
		{Name: Followers, What: "streams of agents that are read; other tasks are polled", Cost: Follower, Want: 256, Least: 2, share: 5},
		{Name: Connections, What: "connections to the HTTP API; then idle ones are closed", Cost: connection, Want: or(w.Connections, DefaultConnections), Least: 8, share: 13},
		{Name: Streams, What: "live streams, in addition to their connections", Cost: Stream, Want: or(w.Streams, DefaultStreams), Least: 4, share: 18},
		{Name: CatchUps, What: "streams that read old messages; then they wait", Cost: CatchUp, Want: 16, Least: 1, share: 3},
		{Name: Tail, What: "bytes of new messages kept for all streams", Cost: TailByte, Want: 16 << 20, Least: 128 << 10, share: 7},
		{Name: Callers, What: "callers that are remembered", Cost: Caller, Want: 10_000, Least: 100, share: 4},
		{Name: Responses, What: "bytes of answers being made or sent; then requests wait", Cost: 1, Want: 512 << 20, Least: 2 << 20, share: 16},
		{Name: Bodies, What: "bytes of request bodies being read; then they wait", Cost: 3, Want: 16 << 20, Least: 64 << 10, share: 2},
		{Name: Validations, What: "bytes of manifests being checked; then validations wait", Cost: ValidatedByte, Want: 2 * MaxManifests, Least: 2 << 10, share: 24},
	}
}

func (p *Plan) index(n Name) int {
	for i := range p.Bounds {
		if p.Bounds[i].Name == n {
			return i
		}
	}
	panic("there is no bound " + string(n)) // a fault of khook, found by any test
}

// N is a bound.
func (p *Plan) N(n Name) int64 { return p.Bounds[p.index(n)].N }

// Sum is what all bounds together take at most, in bytes.
func (p *Plan) Sum() int64 {
	var sum int64
	for i := range p.Bounds {
		sum += p.Bounds[i].Bytes()
	}
	return sum
}

// MaxManifests is how large one text with Hooks may be, in bytes.
func (p *Plan) MaxManifests() int64 { return min(MaxManifests, p.N(Validations)) }

// ValidationsAtOnce is how many texts of that size are checked at the same time.
func (p *Plan) ValidationsAtOnce() int64 { return max(1, p.N(Validations)/MaxManifests) }

// MaxAnswer is how large one answer of an agent may be, in bytes.
func (p *Plan) MaxAnswer() int64 { return min(MaxAnswer, p.N(Answers), p.N(Decoding)/DecodedByte) }

// connections of SQLite that have a cache of their own; see internal/store.
const sqliteConnections = 9

// SQLiteCache is how large the cache of one connection to the history may be, in bytes. It is not
// in Go's memory. A part of what is outside stays for SQLite's other memory and for the program.
func (p *Plan) SQLiteCache() int64 {
	if p.Memory.Outside == 0 {
		return sqliteCache
	}
	return min(sqliteCache, max(256<<10, p.Memory.Outside/2/sqliteConnections))
}

// Shrunk are what the settings ask for and does not fit, a sentence each.
func (p *Plan) Shrunk() []string {
	var all []string
	tell := func(flag string, asked int, n Name) {
		if fits := p.N(n); asked > 0 && fits < int64(asked) {
			all = append(all, fmt.Sprintf("%s is %d, and the memory limit has room for %d %s: raise the limit, or ask for less", flag, asked, fits, n))
		}
	}
	tell("--api-max-streams", p.wanted.Streams, Streams)
	tell("--api-max-connections", p.wanted.Connections, Connections)
	if fits := p.N(Pods); fits < 10_000 {
		all = append(all, fmt.Sprintf("the memory limit has room for about %d Pods: raise it if the cluster has more", fits))
	}
	return all
}

// Text writes bytes for people.
func Text(bytes int64) string {
	switch {
	case bytes >= 1<<30 && bytes%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 10<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.4g KiB", float64(bytes)/(1<<10))
	}
	return fmt.Sprintf("%d B", bytes)
}
