//go:build attack

package attack

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// stream is a way to follow the events. It calls served for each message, and returns how it ended: the
// status of the answer if that was no stream, and the last that was said.
type stream func(ctx context.Context, c *http.Client, base, token string, served func()) (code int, end string)

// follow keeps a stream, and opens it again when it ends.
func (u *userLoad) follow(ctx context.Context, who, address, token string, open stream) {
	c := from(address, false)
	c.Timeout = 0
	for ctx.Err() == nil {
		code, end := open(ctx, c, u.site.base(), token, func() { u.serves(who) })
		if ctx.Err() != nil || u.site.halted() {
			pause(ctx, 250*time.Millisecond)
			continue
		}
		u.mu.Lock()
		switch {
		case code == http.StatusOK && wasRefused([]byte(end)):
			u.t.got["end of the "+who+": "+strings.TrimSpace(end)]++
		case code == http.StatusOK, code == 0:
			u.t.broken++
		default:
			u.t.got[fmt.Sprintf("%d to the %s", code, who)]++
		}
		u.mu.Unlock()
		pause(ctx, 250*time.Millisecond)
	}
}

// sseOf follows by server-sent events. Each line says that the stream is served.
func sseOf(ctx context.Context, c *http.Client, base, token string, served func()) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/events/stream?namespace="+shop, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	var last string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if line := lines.Text(); line != "" {
			last = line
			if resp.StatusCode == http.StatusOK && !wasRefused([]byte(line)) {
				served()
			}
		}
	}
	return resp.StatusCode, last
}

// webSocketOf follows over a WebSocket.
func webSocketOf(ctx context.Context, c *http.Client, base, token string, served func()) (int, string) {
	conn, resp, err := websocket.Dial(ctx, base+"/events/stream?namespace="+shop, &websocket.DialOptions{
		HTTPClient: c, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: []string{"khook.v1"},
	})
	if err != nil {
		if resp != nil {
			return resp.StatusCode, err.Error()
		}
		return 0, err.Error()
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			return http.StatusOK, err.Error()
		}
		served()
	}
}
