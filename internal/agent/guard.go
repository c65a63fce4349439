package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kagent-dev/khook/internal/capacity"
)

// boundedBody is the body of a stream. It has no limit in total, but on each event's size, on the memory
// that reading the events takes, and on the time without a byte.
type boundedBody struct {
	body  io.ReadCloser
	wire  *wireClient
	ctx   context.Context //nolint:containedctx // that of the request, which lives as long as the body
	give  context.CancelCauseFunc
	idle  *time.Timer
	event int64 // bytes since the last empty line
	line  int64 // bytes since the last end of a line
	json  jsonValues
	whole int64          // memory that reading takes of the events that the last Read completed
	pass  *capacity.Pass // for them
}

func newGuard(body io.ReadCloser, w *wireClient, ctx context.Context, give context.CancelCauseFunc) *boundedBody {
	idle := w.cfg.StreamIdle
	return &boundedBody{
		body: body, wire: w, ctx: ctx, give: give,
		idle: time.AfterFunc(idle, func() { give(silentError{idle}) }),
	}
}

// Read implements io.Reader.
func (g *boundedBody) Read(p []byte) (int, error) {
	g.pass.Leave() // whoever reads on has read the events before
	n, err := g.body.Read(p)
	g.idle.Reset(g.wire.cfg.StreamIdle)
	g.count(p[:n])
	if g.event > g.wire.cfg.MaxNews {
		return 0, &garbledError{reason: fmt.Sprintf("an event of the stream is larger than the %d bytes that are allowed", g.wire.cfg.MaxNews)}
	}
	if g.json.deepest > maxDepth {
		return 0, &garbledError{reason: fmt.Sprintf("an event of the stream is nested deeper than the %d levels that are allowed", maxDepth)}
	}
	if g.whole > 0 {
		if err := g.room(); err != nil {
			return 0, err
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = g.wire.broken(g.ctx, true, err)
	}
	return n, err
}

// count finds the empty lines that end events.
func (g *boundedBody) count(p []byte) {
	g.whole = 0
	for _, b := range p {
		g.event++
		g.json.add(b)
		switch {
		case b == '\n' && g.line == 0:
			g.whole += costOf(g.event, g.json.n)
			g.event, g.json = 0, jsonValues{}
		case b == '\n':
			g.line = 0
		case b != '\r':
			g.line++
		}
	}
}

// room takes room for the events that are complete.
func (g *boundedBody) room() error {
	if size := g.wire.read.decoding.Size(); g.whole > size {
		return &garbledError{reason: fmt.Sprintf("events of the stream would take %s of memory, and there is room for %s", capacity.Text(g.whole), capacity.Text(size))}
	}
	pass, err := g.wire.read.decoding.Enter(g.ctx, agentOf(g.ctx), g.whole)
	if err != nil {
		return g.wire.broken(g.ctx, true, noRoom(err))
	}
	g.pass = pass
	return nil
}

// Close implements io.Closer.
func (g *boundedBody) Close() error {
	g.idle.Stop()
	g.pass.Leave()
	g.give(nil)
	return g.body.Close()
}

// silentError ends a stream on which no byte came for a while.
type silentError struct{ idle time.Duration }

func (e silentError) Error() string { return "the stream was silent for " + e.idle.String() }
