package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// guard is the body of a stream. It has no limit in total, but on each event's size, and on the
// time without a byte.
type guard struct {
	body  io.ReadCloser
	wire  *wire
	ctx   context.Context //nolint:containedctx // that of the request, which lives as long as the body
	give  context.CancelCauseFunc
	idle  *time.Timer
	event int64 // bytes since the last empty line
	line  int64 // bytes since the last end of a line
}

func newGuard(body io.ReadCloser, w *wire, ctx context.Context, give context.CancelCauseFunc) *guard {
	idle := w.cfg.StreamIdle
	return &guard{
		body: body, wire: w, ctx: ctx, give: give,
		idle: time.AfterFunc(idle, func() { give(silentError{idle}) }),
	}
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	g.idle.Reset(g.wire.cfg.StreamIdle)
	g.count(p[:n])
	if g.event > g.wire.cfg.MaxResponse {
		return 0, &garbledError{reason: fmt.Sprintf("an event of the stream is larger than the %d bytes that are allowed", g.wire.cfg.MaxResponse)}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = g.wire.broken(g.ctx, true, err)
	}
	return n, err
}

// count finds the empty lines that end events.
func (g *guard) count(p []byte) {
	for _, b := range p {
		g.event++
		switch {
		case b == '\n' && g.line == 0:
			g.event = 0
		case b == '\n':
			g.line = 0
		case b != '\r':
			g.line++
		}
	}
}

// Close implements io.Closer.
func (g *guard) Close() error {
	g.idle.Stop()
	g.give(nil)
	return g.body.Close()
}

// silentError is the cause of a stream's end for want of any byte.
type silentError struct{ idle time.Duration }

func (e silentError) Error() string { return "the stream was silent for " + e.idle.String() }
