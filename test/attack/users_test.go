//go:build attack

package attack

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Addresses, each of a machine of its own. Where khook counts the loopback as no address, it takes
// them from X-Forwarded-For, as behind a proxy that it trusts.
const (
	attackersAddress = "127.0.0.66"
	othersAddress    = "127.0.0.7"
)

// from returns a client at an address; lasting ones keep their connections.
func from(address string, lasting bool) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: time.Minute}
	return &http.Client{
		Timeout: answerLimit,
		Transport: &forwarded{address, &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: !lasting, MaxIdleConnsPerHost: 100, MaxResponseHeaderBytes: 64 << 10,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answerLimit is how long a valid user waits for an answer: what takes longer is none.
const answerLimit = time.Minute

// forwarded says for which address it asks.
type forwarded struct {
	address string
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (f *forwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Forwarded-For", f.address)
	return f.next.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (f *forwarded) CloseIdleConnections() {
	if t, ok := f.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// ask sends a request with a token, and returns the status and the body; the status is 0 if there was
// no answer.
func ask(ctx context.Context, c *http.Client, method, url, token, body string, headers ...string) (int, string) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, string(text)
}

// tally is what the valid users got.
type tally struct {
	asked   int
	got     map[string]int // what was wrong
	slowest time.Duration  // answer since the last look
	broken  int            // streams that ended and went on at once
	closed  int            // connections before the answer, after which the request was sent again
	starved int            // 503 while the API server was slow for a reason that is not khook's
}

// users are those who may read, and do so all the time.
type userLoad struct {
	site   *site
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu     sync.Mutex
	t      tally
	served map[string]int // since the last settle, by who was
}

func newUsers(t *testing.T, s *site) *userLoad {
	ctx, cancel := context.WithCancel(t.Context())
	u := &userLoad{site: s, cancel: cancel, t: tally{got: map[string]int{}}, served: map[string]int{}}
	known := s.account(t, crowd, "known")
	for i, address := range []string{attackersAddress, othersAddress} {
		name := "known token at " + address
		u.wait.Go(func() { u.polls(ctx, name, from(address, i == 1), known) })
		u.wait.Go(func() { u.newcomers(ctx, "new token at "+address, from(address, false)) })
		u.wait.Go(func() { u.follow(ctx, "event stream at "+address, address, known, sseOf) })
		u.wait.Go(func() { u.follow(ctx, "WebSocket at "+address, address, known, webSocketOf) })
	}
	t.Cleanup(u.leave)
	u.settle(t)
	return u
}

// leave ends the users.
func (u *userLoad) leave() {
	u.cancel()
	u.wait.Wait()
}

// settle waits until each user has been served since it was called.
func (u *userLoad) settle(t testing.TB) {
	t.Helper()
	u.mu.Lock()
	clear(u.served)
	u.mu.Unlock()
	// What fails now is told by every stream that is served.
	if _, err := u.site.fail(t.Context(), shop, fmt.Sprintf("told%d", u.site.failed.Add(1)), nil); err != nil {
		t.Fatal(err)
	}
	const kinds = 8
	err := poll(patience, func() error {
		u.mu.Lock()
		defer u.mu.Unlock()
		if len(u.served) < kinds {
			return fmt.Errorf("only these are served: %v; wrong so far: %v", u.served, u.t.got)
		}
		return nil
	})
	if err != nil {
		t.Errorf("not every valid user is served when the attack is over: %v", err)
	}
}

func (u *userLoad) serves(who string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.served[who]++
}

func (u *userLoad) answered(who string, code int, body string, took time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.t.asked++
	u.t.slowest = max(u.t.slowest, took)
	switch code {
	case http.StatusOK:
		u.served[who]++
	case 0:
		u.t.got["no answer ("+strings.TrimSpace(body[strings.LastIndex(body, ": ")+1:])+") to the "+who]++
	default:
		u.t.got[fmt.Sprintf("%d to the %s", code, who)]++
	}
}

func (u *userLoad) polls(ctx context.Context, who string, c *http.Client, token string) {
	for ctx.Err() == nil {
		u.read(ctx, who, c, token)
		pause(ctx, 250*time.Millisecond)
	}
}

// newcomers come now and then, each with a token that khook has not seen.
func (u *userLoad) newcomers(ctx context.Context, who string, c *http.Client) {
	for ctx.Err() == nil {
		if token, err := u.site.token(ctx, crowd, "known"); err == nil {
			u.read(ctx, who, c, token)
		}
		pause(ctx, 2*time.Second)
	}
}

// tries is how often a valid user asks, as HTTP clients do where a connection is closed before the answer:
// among a crowd of new connections from one address nobody can tell whose one is before its request is read.
const tries = 3

func (u *userLoad) read(ctx context.Context, who string, c *http.Client, token string) {
	began, starved := time.Now(), u.site.gateway.starved.Load()
	code, body := ask(ctx, c, http.MethodGet, u.site.base()+"/events/"+shop+"?limit=5", token, "")
	for try := 1; code == 0 && try < tries && ctx.Err() == nil; try++ {
		u.mu.Lock()
		u.t.closed++
		u.mu.Unlock()
		pause(ctx, time.Second) // as clients do before they ask again
		code, body = ask(ctx, c, http.MethodGet, u.site.base()+"/events/"+shop+"?limit=5", token, "")
	}
	switch {
	case ctx.Err() != nil || u.site.halted():
	case code == http.StatusServiceUnavailable && u.site.gateway.starvedSince(starved):
		u.mu.Lock()
		u.t.starved++
		u.mu.Unlock()
	default:
		u.answered(who, code, body, time.Since(began))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// tally returns what the users got so far; the slowest answer is that since the last call.
func (u *userLoad) tally() tally {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.t
	now.got = map[string]int{}
	maps.Copy(now.got, u.t.got)
	u.t.slowest = 0
	return now
}

// since is what was got after an earlier tally.
func (t tally) since(before tally) tally {
	t.asked -= before.asked
	t.broken -= before.broken
	t.starved -= before.starved
	t.closed -= before.closed
	for what, n := range before.got {
		if t.got[what] -= n; t.got[what] == 0 {
			delete(t.got, what)
		}
	}
	return t
}

// wrong lists what was wrong; "" if nothing was.
func (t tally) wrong() string {
	var all []string
	for what, n := range t.got {
		all = append(all, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// refusals are how a stream ends when its caller is told to go.
var refusals = [][]byte{[]byte("may not"), []byte("status = StatusPolicyViolation"), []byte("event: error")}

func wasRefused(end []byte) bool {
	return slices.ContainsFunc(refusals, func(r []byte) bool { return bytes.Contains(end, r) })
}
