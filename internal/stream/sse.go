package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kagent-dev/khook/internal/feed"
)

// sse writes server-sent events.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// serveSSE serves the stream until the client leaves.
func (s *Session) serveSSE(life context.Context, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := untilStop(r.Context(), life)
	defer cancel()
	out := &sse{w, http.NewResponseController(w)}
	s.out = out
	_ = out.rc.SetReadDeadline(time.Time{}) // the limits of other requests are not for streams
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("X-Accel-Buffering", "no")
	err := s.loop(ctx, func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, s.patience()) })
	switch {
	case errors.Is(err, errStops):
		_ = out.write(fmt.Appendf(nil, "retry: %d\n: khook stops, come back\n\n", retryDelay()))
	case errors.Is(err, errNoRight):
		_ = out.write([]byte(": " + errNoRight.Error() + "\n\n"))
	case errors.Is(err, errNotAsked):
		_ = out.write(fmt.Appendf(nil, "retry: %d\n: %s\n\n", retryDelay(), errNotAsked))
	}
}

// write sends bytes at once, within the limit of time.
func (s *sse) write(parts ...[]byte) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(WriteLimit))
	for _, p := range parts {
		if _, err := s.w.Write(p); err != nil {
			return err
		}
	}
	err := s.rc.Flush()
	_ = s.rc.SetWriteDeadline(time.Time{})
	return err
}

// ready tells the client where it is: so it misses nothing if it leaves before the first event.
func (s *sse) ready(position int64) error {
	return s.write(fmt.Appendf(nil, "retry: %d\nid: %d\nevent: ready\ndata: {\"position\":%d}\n\n", 1000+retryDelay()/5, position, position))
}

func (s *sse) events(messages []*feed.Message) error {
	frames := make([][]byte, len(messages))
	for i, m := range messages {
		frames[i] = m.Frame
	}
	return s.write(frames...)
}

func (s *sse) gap(g feed.Gap, position int64) error {
	data, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return s.write(fmt.Appendf(nil, "id: %d\nevent: gap\ndata: %s\n\n", position, data))
}

// position is a heartbeat. An ID without data is no event, but the client keeps it.
func (s *sse) position(position int64) error {
	return s.write(fmt.Appendf(nil, ": alive\nid: %d\n\n", position))
}
