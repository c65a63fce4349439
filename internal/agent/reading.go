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

// receive reads all of an answer of at most limit bytes; one byte more tells that it is longer.
func (r *reading) receive(ctx context.Context, body io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, min(shortAnswer, limit+1)))
	if err != nil || int64(len(text)) < shortAnswer || limit < shortAnswer {
		return text, err
	}
	pass, err := r.receiving.Enter(ctx, agentOf(ctx), limit)
	if err != nil {
		return text, noRoom(err)
	}
	defer pass.Leave()
	rest, err := io.ReadAll(io.LimitReader(body, limit+1-int64(len(text))))
	return append(text, rest...), err
}

// read takes room for reading an answer, until the next answer in ctx comes or what was asked for is done.
func (r *reading) read(ctx context.Context, text []byte) (*capacity.Pass, error) {
	cost := costOf(int64(len(text)), countValues(text))
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
	case b == ',' || b == '{' || b == '[':
		v.n++
	}
}

func countValues(text []byte) int64 {
	var v jsonValues
	for _, b := range text {
		v.add(b)
	}
	return v.n
}

// hold is the room (backpressure, see capacity) that a call has taken for its newest answer.
type hold struct {
	agent string
	mu    sync.Mutex
	pass  *capacity.Pass
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
