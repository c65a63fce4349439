package server

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/capacity/capacitytest"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/incident"
	"github.com/kagent-dev/khook/internal/store"
)

// listen serves on the loopback address until the test ends.
func (f *fixture) listen(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx, l) }()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String()
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends a request and returns the status of its answer, whose body it passes over.
func exchange(t testing.TB, c net.Conn, request string) int {
	t.Helper()
	if _, err := fmt.Fprint(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 512))
	return resp.StatusCode
}

func requestFor(path string, headers ...string) string {
	return "GET " + api.Base + path + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

func TestWhatConnectionsCost(t *testing.T) {
	f := newFixture(t)
	address := f.listen(t)
	exchange(t, dial(t, address), requestFor("/events"))
	capacitytest.Check(t, "a silent connection", capacitytest.Each(200, func(int) { dial(t, address) }), capacity.Connection)
	capacitytest.Check(t, "an idle connection", capacitytest.Each(200, func(int) { exchange(t, dial(t, address), requestFor("/events")) }), capacity.Connection)
}

func TestWhatConnectionsWithTLSCost(t *testing.T) {
	cert := certificate(t)
	f := newFixture(t, func(c *Config) {
		c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	})
	address := f.listen(t)
	for _, protocol := range []string{"http/1.1", "h2"} {
		bring := func(int) {
			tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
			tr.Protocols.SetHTTP1(protocol == "http/1.1")
			tr.Protocols.SetHTTP2(protocol == "h2")
			t.Cleanup(tr.CloseIdleConnections)
			resp, err := (&http.Client{Transport: tr}).Get("https://" + address + api.Base + "/events")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if got := resp.ProtoMajor; got != map[string]int{"http/1.1": 1, "h2": 2}[protocol] {
				t.Fatalf("it spoke HTTP/%d", got)
			}
		}
		bring(0)
		// The client's side is in the same process, and has as much at least.
		capacitytest.Check(t, "a connection with TLS over "+protocol, capacitytest.Each(100, bring)/2, capacity.Connection+capacity.TLSConnection)
	}
}

// certificate makes a certificate for the loopback address.
func certificate(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "khook"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// follow opens a stream of server-sent events, and returns when it is ready.
func follow(t testing.TB, address, query string) net.Conn {
	t.Helper()
	c := dial(t, address)
	if _, err := fmt.Fprint(c, requestFor("/events/stream"+query)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	for got := ""; !strings.Contains(got, "position"); {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		if got += string(buf[:n]); strings.Contains(got, "application/problem") {
			t.Fatal(got)
		}
	}
	return c
}

func TestWhatStreamsCost(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Limits.Streams, c.Limits.ClientStreams = 100_000, 10_000
		c.Limits.CatchUps = 1 // those that are under way have their own place in the plan
	})
	address := f.listen(t)
	follow(t, address, "")
	capacitytest.Check(t, "a stream of server-sent events", capacitytest.Each(200, func(int) { follow(t, address, "") }), capacity.Connection+capacity.Stream)
	capacitytest.Check(t, "a WebSocket", capacitytest.Each(200, func(int) {
		c, _, err := websocket.Dial(t.Context(), "ws://"+address+streamPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		if _, _, err := c.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}), capacity.Connection+capacity.Stream)
}

// Its messages are of the history, and its own: the tail's are everybody's.
func TestWhatAStreamThatHoldsMessagesBackCosts(t *testing.T) {
	f := newFixture(t, shortFeed, func(c *Config) { c.Limits.Streams, c.Limits.ClientStreams = 100_000, 10_000 })
	f.record(t, 6000)
	eventually(t, "the feed has all changes, which the plan counts apart", func() bool {
		last, err := f.store.LastChange(t.Context())
		return err == nil && f.cfg.Feed.Head() == last
	})
	address := f.listen(t)
	follow(t, address, "")
	// Each begins elsewhere, and holds back what is above its rate. What it reads meanwhile is a catch-up, which the plan
	// counts apart.
	capacitytest.Check(t, "a stream that holds messages back", capacitytest.Each(200, func(i int) {
		follow(t, address, fmt.Sprintf("?after=%d&maxRate=0.01", i*20))
		eventually(t, "the stream has read what it holds back", func() bool {
			reading, waiting := f.gates.catchUps.Used()
			return reading == 0 && waiting == 0
		})
	}), capacity.Connection+capacity.Stream)
}

// record fills the history with events that are as large as they can be.
func (f *fixture) record(t testing.TB, n int) {
	t.Helper()
	for done := 0; done < n; done += 500 {
		var c store.Changes
		err := f.store.WriteRelaxed(t.Context(), func(tx *store.Tx) error {
			c = store.Changes{}
			for i := range 500 {
				s := &incident.Signal{
					Key: fmt.Sprint("large ", done+i), Kind: incident.Observed, Type: incident.PodRestart, At: time.Now(), Count: 1, Observation: incident.Observation{
						Reason: strings.Repeat("r", incident.MaxReason), Message: strings.Repeat("m", incident.MaxMessage), Resource: incident.Resource{Kind: "Pod", Namespace: shop, Name: strings.Repeat("p", 253), UID: fmt.Sprint("uid-", done+i)}, Container: strings.Repeat("c", 63),
						Workload: incident.Workload{Kind: "Deployment", Name: strings.Repeat("w", 253)}, Node: strings.Repeat("n", 253),
					},
				}
				e := incident.NewEvent(incident.Open(incident.Origin{}, s), s, time.Now())
				e.ID = tx.NextEvent()
				c.Events = append(c.Events, e)
			}
			return tx.Save(t.Context(), &c)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.cfg.Feed.Wake()
}

func TestWhatAnswersCost(t *testing.T) {
	f := newFixture(t)
	f.record(t, 1000)
	f.talk(t)
	const together = 4
	for _, encoding := range []string{"", "gzip", "zstd"} {
		for _, path := range []string{"/events?limit=1000", "/events?limit=1", "/incidents?limit=1000", "/stats/trends", "/deliveries/" + f.delivery, "/incidents/" + f.incident} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://khook"+api.Base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, route := f.mux.Handler(r)
			_, route, _ = strings.Cut(route, " ")
			ask := func() {
				var all sync.WaitGroup
				for range together {
					all.Go(func() {
						if w := askServer(f.Server, http.MethodGet, api.Base+path, "", "Accept-Encoding", encoding); w.Code != http.StatusOK {
							t.Errorf("%s: %d %s", path, w.Code, w.Body)
						}
					})
				}
				all.Wait()
			}
			capacitytest.Check(t, path+" with "+encoding, capacitytest.Peak(ask)/together, answerCost(r, route))
		}
	}
}

// talk makes the delivery as large as it can be.
func (f *fixture) talk(t testing.TB) {
	t.Helper()
	long := func(n int) string { return strings.Repeat("\u2028x", n/4) }
	f.make(t, func(d *delivery.Delivery) {
		d.Prompt, d.Answer, d.Question = long(delivery.MaxPrompt), long(delivery.MaxAnswer), long(delivery.MaxQuestion)
		d.Data = `{"a":"` + strings.Repeat("x", delivery.MaxData-16) + `"}`
	})
	var c store.Changes
	for i := range delivery.MaxEntries {
		c.Entries = append(c.Entries, delivery.Entry{DeliveryID: f.delivery, At: time.Now(), Kind: delivery.EntryMessage, Source: fmt.Sprint("large ", i), By: "agent", Text: long(delivery.MaxEntryText)})
	}
	if err := f.store.Write(t.Context(), func(tx *store.Tx) error { return tx.Save(t.Context(), &c) }); err != nil {
		t.Fatal(err)
	}
}

// manyHooks are manifests that make much work of few bytes.
func manyHooks(size int) map[string]string {
	var many strings.Builder
	for i := 0; many.Len() < size && i < 100; i++ {
		fmt.Fprintf(&many, "---\napiVersion: kagent.dev/v1alpha2\nkind: Hook\nmetadata: {name: a%d, namespace: shop}\nspec:\n  eventConfigurations:\n", i)
		for j := range 50 {
			fmt.Fprintf(&many, "  - {eventType: oom-kill, agentRef: {name: x}, prompt: \"{{.EventMessage}} %d\", match: \"event.restartCount > %d\"}\n", j, j)
		}
	}
	return map[string]string{
		"lists": "[" + strings.Repeat("[],", size/3-1) + "]", "maps": strings.Repeat("a: b\n", size/5), "documents": strings.Repeat("--- {}\n", size/7),
		"Hooks": many.String()[:strings.LastIndex(many.String()[:min(size, many.Len())], "\n")+1], "one text": "a: \"" + strings.Repeat("x", size-6) + "\"",
		"maps in lists": "[" + strings.Repeat("{a},", size/4-1) + "]", "short pairs": "[" + strings.Repeat("a: b,", size/5-1) + "]",
		"maps of maps": "[" + strings.Repeat("{{a}},", size/6-1) + "]", "aliases": "a: &a {b}\nb: [" + strings.Repeat("*a,", size/3-12) + "]\n",
		"anchors": "a: &a [x,x,x,x,x,x,x,x]\nb: &b [" + strings.Repeat("*a,", size/3-12) + "]\n", "JSON": `{"a":[` + strings.TrimSuffix(strings.Repeat("{},", size/3-3), ",") + "]}",
	}
}

func TestWhatAValidationCosts(t *testing.T) {
	f := newFixture(t)
	for name, text := range manyHooks(capacity.MaxManifests) {
		cost := capacitytest.Peak(func() {
			if w := askServer(f.Server, http.MethodPost, api.Base+"/hooks/validate", text, "Content-Type", yamlType); w.Code != http.StatusOK {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		})
		capacitytest.Check(t, "checking "+name, cost, capacity.ValidatedByte*int64(len(text)))
	}
}
