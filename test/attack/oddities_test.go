//go:build attack

package attack

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// oddRequests shows that requests at and over the limits of HTTP are answered or refused, and cost little.
var oddRequests = attack{
	name: "odd requests", tried: "huge and many headers, long URLs, thousands of parameters and of Accept clauses, ranges, pipelining without reading, compressed bodies",
	run: func(a *assault) {
		var got statuses
		valid := a.account(a, crowd, "odd")
		many := func(n int, format string) []string {
			all := make([]string, n)
			for i := range all {
				all[i] = fmt.Sprintf(format, i)
			}
			return all
		}
		get := func(path string, headers ...string) string { return a.head(http.MethodGet, path, valid, headers...) }
		requests := []string{
			get("/events/"+shop, "X-A: "+strings.Repeat("a", 28<<10)),
			get("/events/"+shop, "X-A: "+strings.Repeat("a", 1<<20)),
			get("/events/"+shop, many(1500, "X-%d: a")...),
			get("/events/" + shop + "?" + strings.Join(many(3000, "p%d=1"), "&")),
			get("/events/" + shop + "?resourceName=" + strings.Repeat("a", 28<<10)),
			get("/events/" + strings.Repeat("../", 5000)),
			get("/events/"+shop, "Accept: "+strings.Join(many(2000, "a/b;q=0.%d"), ",")),
			get("/events/"+shop, "Accept-Encoding: "+strings.Join(many(1500, "gzip;q=0.%d"), ",")),
			get("/events/"+shop, "Range: bytes="+strings.Join(many(3000, "%d-"), ",")),
			get("/openapi.json", "Range: bytes="+strings.Join(many(3000, "0-%d"), ","), "Accept-Encoding: identity"),
			get("/events/"+shop, "Cookie: "+strings.Join(many(2000, "c%d=1"), "; ")),
		}
		rounds := a.size(5, 100)
		a.each(rounds*len(requests), 32, func(i int) { got.add(a.raw(requests[i%len(requests)])) })
		a.pipelines(get("/openapi.json"))
		got.add(a.compressed(valid))
		a.note("answers %s", &got)
	},
}

// pipelines sends many requests on each of many connections, and reads no answer.
func (a *assault) pipelines(request string) {
	var open swarm
	defer open.close()
	a.each(a.size(50, 300), 50, func(int) {
		conn, err := a.dial()
		if err != nil {
			return
		}
		open.add(conn)
		_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, strings.Repeat(request, 200))
	})
	pause(a.ctx, a.holding()/2)
}

// compressed sends a small body that would be a huge one.
func (a *assault) compressed(token string) int {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range 256 {
		_, _ = w.Write(make([]byte, 1<<20))
	}
	_ = w.Close()
	code, _ := ask(a.ctx, attacker(), http.MethodPost, a.base()+"/hooks/validate", token, b.String(), "Content-Type: application/yaml", "Content-Encoding: gzip")
	return code
}
