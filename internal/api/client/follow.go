package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/kagent-dev/khook/internal/api"
)

// Message is one server-sent event.
type Message struct {
	Kind string // event, ready or gap
	ID   string // of this or an earlier one
	Data []byte
}

// Follower follows a live stream, and comes back by itself where it was.
type Follower struct {
	Client  *Client
	Query   url.Values
	last    string        // ID of the newest message; "" before the first
	pause   time.Duration // before it comes back, as the server asks
	Trouble func(error)   // is told why the stream was lost
}

// The pauses before a follower comes back.
const (
	firstPause = time.Second
	mostPause  = 30 * time.Second
)

// errHandled wraps an error of the caller's own.
var errHandled = errors.New("")

// Run calls handle for each message until it returns an error, ctx ends, or the server refuses.
func (f *Follower) Run(ctx context.Context, handle func(Message) error) error {
	for wait := firstPause; ; {
		began := f.last
		err := f.Once(ctx, handle)
		var refused *refusedError
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case errors.As(err, &refused) && refused.final():
			return err
		case errors.Is(err, errHandled):
			return err
		}
		if f.Trouble != nil {
			f.Trouble(err)
		}
		if wait = min(2*wait, mostPause); f.last != began {
			wait = max(firstPause, f.pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // only to spread
		}
	}
}

// refusedError is an answer that is no stream.
type refusedError struct {
	code int
	error
}

// final says whether asking again is no use.
func (e *refusedError) final() bool {
	return e.code >= http.StatusBadRequest && e.code < http.StatusInternalServerError && e.code != http.StatusTooManyRequests
}

// Once follows the stream until it ends.
func (f *Follower) Once(ctx context.Context, handle func(Message) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Client.base+api.Base+"/events/stream?"+f.Query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	f.Client.identify(req)
	if f.last != "" {
		req.Header.Set("Last-Event-ID", f.last)
	}
	endless := *f.Client.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		return &refusedError{resp.StatusCode, explainReply(resp, body)}
	}
	return f.read(resp.Body, handle)
}

const (
	maxProblem = 64 << 10 // bytes of an error
	maxFrame   = 1 << 20  // bytes of a line of a stream
)

// read reads frames (HTML, server-sent events).
func (f *Follower) read(body io.Reader, handle func(Message) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 16<<10), maxFrame)
	var now Message
	for lines.Scan() {
		line := lines.Bytes()
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			now.ID = string(value)
		case "event":
			now.Kind = string(value)
		case "data":
			now.Data = append(now.Data, value...)
		case "retry":
			if ms, err := strconv.Atoi(string(value)); err == nil {
				f.pause = min(time.Duration(ms)*time.Millisecond, mostPause)
			}
		}
		if len(line) > 0 {
			continue
		}
		if len(now.Data) > 0 {
			if err := handle(now); err != nil {
				return fmt.Errorf("%w%w", errHandled, err)
			}
		}
		if now.ID != "" {
			f.last = now.ID // also of a heartbeat, and only when all of it came
		}
		now = Message{}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.EOF
}
