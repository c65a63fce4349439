//go:build attack

package attack

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// randomToken looks like a token of the cluster, and is none.
func randomToken() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"iss":"https://kubernetes.default.svc","aud":["khook"],"sub":"x","exp":4102444800,"n":%d}`, rand.Int64())) + "." + part(strings.Repeat("s", 256))
}

// refusedRequests shows that a flood of requests that are refused does not fill the log.
var refusedRequests = attack{
	name: "a flood of refused requests", tried: "20,000 requests (4,000 in the short form) without a token or right, or to no route",
	run: func(a *assault) {
		var got statuses
		c := attacker()
		before := a.khook.log.lines.Load()
		n := a.size(4000, 20_000)
		paths := []string{"/events", "/nothing", "/events?limit=x", "/hooks/pay/pay", "/health?x=1"}
		a.each(n, 32, func(i int) {
			token := ""
			if i%2 == 0 {
				token = a.nobody
			}
			code, _ := ask(a.ctx, c, http.MethodGet, a.base()+paths[i%len(paths)], token, "")
			got.add(code)
		})
		lines := a.khook.log.lines.Load() - before
		a.note("%d requests made %d lines of the log; answers %s", n, lines, &got)
		if lines > int64(n/4) {
			a.Errorf("%d requests made %d lines of the log", n, lines)
		}
	},
}

// randomTokens shows that strangers can't use up what tells who valid users are.
var randomTokens = attack{
	name: "random tokens", tried: "tokens that look right, from one address: 50 a second, then as many as it takes", run: floodOfTokens,
}

// randomTokensWhileReviewsAreSlow is the same while the API server is slow to say who somebody is.
var randomTokensWhileReviewsAreSlow = attack{
	name: "random tokens, slow reviews", tried: "the same while the API server takes 1 s for each review",
	run: func(a *assault) {
		a.gateway.delay.Store(int64(time.Second))
		defer a.gateway.delay.Store(0)
		floodOfTokens(a)
	},
}

func floodOfTokens(a *assault) {
	var got statuses
	c := attacker()
	reviews := a.gateway.count(tokenReviews, "")
	one := func(int) {
		code, _ := ask(a.ctx, c, http.MethodGet, a.base()+"/events/"+shop, randomToken(), "")
		got.add(code)
		if code == http.StatusOK {
			a.Error("a random token was let in")
		}
	}
	paced := a.size(300, 1500)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	a.each(paced, 64, func(i int) {
		<-tick.C
		one(i)
	})
	fast := a.size(2000, 20_000)
	for end := time.Now().Add(a.holding()); fast > 0 && time.Now().Before(end); fast -= 500 {
		a.each(500, 64, one)
	}
	a.note("answers %s; %d reviews", &got, reviews.n.Load())
}

// filterMessages shows that what is asked within a WebSocket counts against its caller.
var filterMessages = attack{
	name: "WebSocket filter messages", tried: "600 messages of type filter, each for another namespace, over one WebSocket",
	run: func(a *assault) {
		token := a.account(a, crowd, "filterer")
		reviews := a.gateway.count(accessReviews, crowd+":filterer")
		conn, _, err := websocket.Dial(a.ctx, a.base()+"/events/stream?namespace="+shop, &websocket.DialOptions{
			HTTPClient: from(attackersAddress, false), HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
		if err != nil {
			a.Fatal(err)
		}
		defer func() { _ = conn.CloseNow() }()
		conn.SetReadLimit(1 << 20)
		var answers atomic.Int64
		go func() {
			for {
				if _, _, err := conn.Read(a.ctx); err != nil {
					return
				}
				answers.Add(1)
			}
		}()
		sent := 0
		for ; sent < 600; sent++ {
			if conn.Write(a.ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"filter","namespace":"n%d"}`, sent)) != nil {
				break
			}
			pause(a.ctx, 10*time.Millisecond) // its pace
		}
		a.note("%d messages sent, %d access reviews, %d answers", sent, reviews.n.Load(), answers.Load())
		if reviews.n.Load() > 300 {
			a.Errorf("%d messages made %d access reviews", sent, reviews.n.Load())
		}
	},
}

// manyValidations shows that what a validation looks up counts against its caller.
var manyValidations = attack{
	name: "validations of many namespaces", tried: "250 manifests, each with Hooks of 100 namespaces, by one token without rights",
	run: func(a *assault) {
		token := a.account(a, enemy, "validator")
		reviews := a.gateway.count(accessReviews, enemy+":validator")
		var got statuses
		c := attacker()
		a.each(a.size(100, 250), 25, func(i int) {
			var b strings.Builder
			for n := range 100 {
				fmt.Fprintf(&b, "---\napiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: h, namespace: n%d-%d}\nspec:\n  eventConfigurations:\n  - {eventType: pod-restart, agentId: kagent/a%d, prompt: look}\n", i, n, n)
			}
			code, _ := ask(a.ctx, c, http.MethodPost, a.base()+"/hooks/validate", token, b.String(), "Content-Type: application/yaml")
			got.add(code)
		})
		a.note("answers %s; %d access reviews", &got, reviews.n.Load())
		if reviews.n.Load() > 2000 {
			a.Errorf("the validations made %d access reviews", reviews.n.Load())
		}
	},
}

// impossibleTokens shows that what can't be a token is refused without asking Kubernetes.
var impossibleTokens = attack{
	name: "impossible tokens", tried: "empty ones, of 20 KiB, with bytes that no header may have, of other schemes; as a header and as a WebSocket's subprotocol",
	run: func(a *assault) {
		const mark = "impossible-token"
		reviews := a.gateway.count(tokenReviews, mark)
		empty := a.gateway.count(tokenReviews, `"token":""`)
		big := mark + strings.Repeat("a", 20<<10)
		headers := []string{
			"Authorization: Bearer", "Authorization: Bearer ", "Authorization: Bearer    ", "Authorization: Basic " + mark, "Authorization: " + mark,
			"Authorization: Bearer " + big, "Authorization: Bearer " + mark + "\x01", "Authorization: Bearer " + mark + "\x7f", "Authorization: Bearer " + mark + "\x00",
			"Sec-WebSocket-Protocol: khook.v1, khook.bearer.", "Sec-WebSocket-Protocol: khook.bearer." + big,
		}
		var got statuses
		for _, h := range headers {
			for _, more := range [][]string{{h}, {h, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}} {
				code := a.raw(a.head(http.MethodGet, "/events/stream?namespace="+shop, "", more...))
				got.add(code)
				if code == http.StatusOK || code == http.StatusSwitchingProtocols {
					a.Errorf("%.60q was let in", h)
				}
			}
		}
		a.note("answers %s; %d reviews", &got, reviews.n.Load()+empty.n.Load())
		if n := reviews.n.Load() + empty.n.Load(); n > 0 {
			a.Errorf("%d token reviews were made of what can't be a token", n)
		}
	},
}

// raw sends bytes on a connection of their own, and returns the status of the answer.
func (a *assault) raw(request string) int {
	conn, err := a.dial()
	if err != nil {
		return 0
	}
	defer conn.Close()
	return openStream(conn, request)
}

// historyOfOthers shows that a stream that begins at the beginning costs by what its caller may read.
var historyOfOthers = attack{
	name: "the history of others", tried: "streams from the beginning (after=0), of a namespace in which nothing happened, opened again and again by 20 readers",
	run: func(a *assault) {
		tokens := a.readers("historian", 20)
		n := a.size(1000, 10_000)
		var got statuses
		var bytes atomic.Int64
		a.each(n, 200, func(i int) {
			conn, err := a.dial()
			if err != nil {
				got.add(0)
				return
			}
			defer conn.Close()
			got.add(openStream(conn, a.head(http.MethodGet, "/events/stream?namespace="+quiet+"&after=0", tokens[i%len(tokens)])))
			_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			text, _ := io.ReadAll(conn)
			bytes.Add(int64(len(text)))
			if strings.Contains(string(text), `"resourceName"`) {
				a.Error("the stream tells of another namespace")
			}
		})
		a.note("%d streams, answers %s, %d bytes in all", n, &got, bytes.Load())
	},
}
