package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/delivery"
)

// reading bounds the memory of answers. A short text can become much memory: of a megabyte of "{},"
// Go makes forty. So the bytes of an answer are bounded while they are received, which the agent can
// draw out, and its values while they are read, which it can't.
//
// The two are separate gates, and whoever reads never waits for what is being received: so an agent
// that sends half an answer and stops can't keep others from being read.
type reading struct {
	receiving *capacity.Gate // bytes of long answers
	decoding  *capacity.Gate // memory
}

// newReading returns the bounds of a client. An answer waits for others no longer than a request may take.
func newReading(cfg Config) *reading {
	return &reading{
		receiving: capacity.NewGate(capacity.GateConfig{Size: cfg.ReceiveBytes, Wait: cfg.Timeout, ClientLine: maxAnswersWaiting, Lines: 4 * maxAnswersWaiting}),
		decoding:  capacity.NewGate(capacity.GateConfig{Size: cfg.DecodeMemory, Wait: cfg.Timeout, ClientLine: maxAnswersWaiting, Lines: 4 * maxAnswersWaiting}),
	}
}

// maxAnswersWaiting bounds how many answers of one agent wait.
const maxAnswersWaiting = 64

// shortAnswer is how much of each answer is received without asking whether there is room, in bytes.
const shortAnswer = 16 << 10

// receive reads all of an answer of at most limit bytes; one byte more tells that it is longer. One that may be shortened is so if it
// does not fit.
func (r *reading) receive(ctx context.Context, body io.Reader, limit int64, shorten bool) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, min(shortAnswer, limit+1)))
	if err != nil {
		return text, err
	}
	if int64(len(text)) < shortAnswer || limit < shortAnswer {
		if shorten && !r.fits(text, limit) {
			return r.shortened(ctx, text, body, limit)
		}
		return text, nil
	}
	pass, err := r.receiving.Enter(ctx, agentOf(ctx), limit)
	if err != nil {
		return text, noRoom(err)
	}
	defer pass.Leave()
	rest, err := io.ReadAll(io.LimitReader(body, limit+1-int64(len(text))))
	text = append(text, rest...)
	if shorten && err == nil && !r.fits(text, limit) {
		return r.shortened(ctx, text, body, limit)
	}
	return text, err
}

// fits says whether an answer may be read as it is.
func (r *reading) fits(text []byte, limit int64) bool {
	v, size := valuesOf(text), int64(len(text))
	return size <= limit && v.n <= maxValues && v.deepest <= maxDepth && costOf(size, v.n) <= r.decoding.Size()
}

// shortened is an answer as far as it fits, of which begun has been received. All of it is received, within bounds: kagent tells the
// state last.
func (r *reading) shortened(ctx context.Context, begun []byte, body io.Reader, limit int64) ([]byte, error) {
	s := newShortener(limit, r.decoding.Size())
	_, _ = s.Write(begun)
	most := maxShortened*limit - int64(len(begun))
	n, err := io.Copy(s, io.LimitReader(body, most))
	if err == nil && (n >= most || s.full()) {
		err = tooLarge(limit)
	}
	holdOf(ctx).drop(s.dropped)
	return s.out, err
}

func tooLarge(limit int64) *garbledError {
	return &garbledError{reason: fmt.Sprintf("the answer is larger than the %d bytes that are allowed", limit), large: true}
}

// read takes room for reading an answer, until the next answer in ctx comes or what was asked for is done.
func (r *reading) read(ctx context.Context, text []byte) (*capacity.Pass, error) {
	cost := costOf(int64(len(text)), valuesOf(text).n)
	if cost > r.decoding.Size() {
		return nil, &garbledError{reason: fmt.Sprintf("the answer has %d bytes in too many pieces: reading it would take %s of memory, and there is room for %s", len(text), capacity.Text(cost), capacity.Text(r.decoding.Size())), large: true}
	}
	pass, err := r.decoding.Enter(ctx, agentOf(ctx), cost)
	if err != nil {
		return nil, noRoom(err)
	}
	holdOf(ctx).keep(pass)
	return pass, nil
}

// costOf is the memory that a text with some values takes while it is read.
func costOf(size, values int64) int64 {
	return capacity.DecodedByte*size + capacity.DecodedValue*values
}

var errNoRoom = errors.New("khook has no room for the answer: too many others are being read")

func noRoom(err error) error {
	if errors.Is(err, capacity.ErrBusy) || errors.Is(err, capacity.ErrClientBusy) {
		return errNoRoom
	}
	return err
}

// jsonValues counts the values in JSON as it passes by, at most as many as there are: each comma and each
// bracket that is not in a text begins one. What is no JSON is counted somehow.
type jsonValues struct {
	n               int64
	depth, deepest  int
	quoted, escaped bool
}

func (v *jsonValues) add(b byte) {
	switch {
	case v.escaped:
		v.escaped = false
	case v.quoted:
		v.escaped, v.quoted = b == '\\', b != '"'
	case b == '"':
		v.quoted = true
	case b == ',':
		v.n++
	case b == '{' || b == '[':
		v.n++
		v.depth++
		v.deepest = max(v.deepest, v.depth)
	case b == '}' || b == ']':
		v.depth--
	}
}

func valuesOf(text []byte) jsonValues {
	var v jsonValues
	for _, b := range text {
		v.add(b)
	}
	return v
}

// hold is the room (backpressure, see capacity) that a call has taken for its newest answer.
type hold struct {
	agent string
	mu    sync.Mutex
	pass  *capacity.Pass
	lacks dropped // what its newest answer was shortened by
}

type holdKey struct{}

// holding returns a context for a call to an agent, and what ends it. What the call returns is bounded
// by itself, see Task; so once it is done the answers that it was made of are gone.
func holding(ctx context.Context, ref delivery.AgentRef) (context.Context, func()) {
	h := &hold{agent: ref.String()}
	return context.WithValue(ctx, holdKey{}, h), func() { h.keep(nil) }
}

func holdOf(ctx context.Context) *hold {
	h, _ := ctx.Value(holdKey{}).(*hold)
	return h
}

func agentOf(ctx context.Context) string {
	if h := holdOf(ctx); h != nil {
		return h.agent
	}
	return "kagent"
}

// keep gives back what was taken for the answer before.
func (h *hold) keep(pass *capacity.Pass) {
	if h == nil {
		pass.Leave() // an answer of kagent itself, which is small
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pass.Leave()
	h.pass = pass
}

// drop notes what the newest answer lacks.
func (h *hold) drop(d dropped) {
	if h != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lacks = d
	}
}

// dropped is what the newest answer lacks.
func (h *hold) dropped() dropped {
	if h == nil {
		return dropped{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lacks
}
