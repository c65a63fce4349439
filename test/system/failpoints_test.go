package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kagent-dev/khook/internal/app"
	"github.com/kagent-dev/khook/internal/cli"
	"github.com/kagent-dev/khook/internal/store"
)

// A point is a moment at which khook is about to write or to call, or has just done it: each commit
// of the history, each request to kagent, each to the API server and each message to people has one before and one after it.
// Its name says which, such as "kagent SendMessage#2 before".
const (
	// pointsFile names the file into which khook writes the points that it reaches, one a line, with
	// what it sends to an agent after a tab.
	pointsFile = "KHOOK_TEST_POINTS"
	// stopAt is a signal's name and a point at which khook sends it to itself.
	stopAt = "KHOOK_TEST_STOP"
)

// The sides of what a point is about.
const beforePoint, afterPoint = "before", "after"

// signals are those that khook can send to itself.
var signals = map[string]syscall.Signal{"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM, "SIGSTOP": syscall.SIGSTOP}

// The leader election of the tests is quick. Its lease is counted in whole seconds.
var testLease, testRenew, testRetry = 3 * time.Second, 2 * time.Second, 300 * time.Millisecond

// beKhook is main in a process of a test. If the test asks for the points, khook has faults injected.
func beKhook() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := cli.Env{Out: os.Stdout, Err: os.Stderr, Version: "test"}
	if file := os.Getenv(pointsFile); file != "" {
		p, err := openPoints(file, os.Getenv(stopAt))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		env.Faults = app.Faults{
			Kagent:  &pointed{p, kagentCall, http.DefaultTransport.(*http.Transport).Clone()},
			Cluster: func(next http.RoundTripper) http.RoundTripper { return &pointed{p, clusterCall, next} },
			Notify:  func(next http.RoundTripper) http.RoundTripper { return &pointed{p, noticeSent, next} },
			Commit:  p.commit,
			Lease:   &testLease, Renew: &testRenew, Retry: &testRetry,
		}
	}
	return cli.Main(ctx, os.Args[1:], env)
}

// failpoints counts the points that the process reaches, and stops it at one of them.
type failpoints struct {
	signal syscall.Signal
	at     string

	mu    sync.Mutex
	file  *os.File
	count map[string]int
}

func openPoints(file, stop string) (*failpoints, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	name, at, _ := strings.Cut(stop, " ")
	return &failpoints{signal: signals[name], at: at, file: f, count: map[string]int{}}, nil
}

// begin gives something its number, and is the point before it.
func (p *failpoints) begin(what, detail string) (numbered string) {
	p.mu.Lock()
	p.count[what]++
	numbered = fmt.Sprintf("%s#%d", what, p.count[what])
	p.mu.Unlock()
	p.reach(numbered+" "+beforePoint, detail)
	return numbered
}

func (p *failpoints) end(numbered string) { p.reach(numbered+" "+afterPoint, "") }

func (p *failpoints) reach(point, detail string) {
	p.mu.Lock()
	_, err := fmt.Fprintf(p.file, "%s\t%s\n", point, detail)
	p.mu.Unlock()
	if err != nil {
		panic(err) // the test would compare with too little
	}
	if point == p.at && p.signal != 0 {
		stopSelf(p.signal)
	}
}

// stopSelf sends the signal to the own process. After the one that ends it nothing more is done; after
// the one that halts it what follows is done when the process is let on.
func stopSelf(s syscall.Signal) {
	letOn := make(chan os.Signal, 1)
	if s == syscall.SIGSTOP {
		signal.Notify(letOn, syscall.SIGCONT)
	}
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		panic(err)
	}
	switch s {
	case syscall.SIGKILL:
		select {}
	case syscall.SIGSTOP:
		<-letOn
	}
}

// commit is the seam of the history. There is one writer, so the newest number is that of the commit.
func (p *failpoints) commit(c store.Commit) {
	what := "commit of a delivery"
	if c.Soon {
		what = "commit of signals"
	}
	if !c.Done {
		p.begin(what, "")
		return
	}
	p.mu.Lock()
	numbered := fmt.Sprintf("%s#%d", what, p.count[what])
	p.mu.Unlock()
	p.end(numbered)
}

// pointed is the seam of a client: what a request is called, "" for one that is no point.
type pointed struct {
	points *failpoints
	name   func(*http.Request) (what, detail string)
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (p *pointed) RoundTrip(req *http.Request) (*http.Response, error) {
	what, detail := p.name(req)
	if what == "" {
		return p.next.RoundTrip(req)
	}
	numbered := p.points.begin(what, detail)
	resp, err := p.next.RoundTrip(req)
	p.points.end(numbered)
	return resp, err
}

// kagentCall names a request to kagent: by its method of A2A, else by its path; a message that continues a task is a
// "reply". The detail is the message's ID and context.
func kagentCall(req *http.Request) (what, detail string) {
	var call struct {
		Method string `json:"method"`
		Params struct {
			Message struct {
				MessageID string `json:"messageId"`
				TaskID    string `json:"taskId"`
				ContextID string `json:"contextId"`
			} `json:"message"`
		} `json:"params"`
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		req.Body = io.NopCloser(bytes.NewReader(body))
		if err == nil && json.Unmarshal(body, &call) == nil && call.Method != "" {
			what = "kagent " + call.Method
			m := call.Params.Message
			if m.MessageID != "" {
				detail = m.MessageID + " " + m.ContextID
			}
			if m.TaskID != "" {
				what += " reply"
			}
			return what, detail
		}
	}
	last := path.Base(req.URL.Path)
	if above := path.Base(path.Dir(req.URL.Path)); above == "tasks" {
		last = "tasks/ID"
	}
	return "kagent " + req.Method + " " + last, ""
}

// noticeSent names a message to people.
func noticeSent(req *http.Request) (what, detail string) { return "notice " + req.Method, "" }

// clusterCall names a request to the API server by its verb and resource. What is asked before the
// work begins is left out, and so is the leader election.
func clusterCall(req *http.Request) (what, detail string) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if len(parts) > 0 && parts[0] == "apis" {
		parts = parts[1:]
	}
	parts = parts[min(len(parts), 2):] // group and version
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	if len(parts) == 0 || parts[0] == "leases" {
		return "", ""
	}
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	verb := strings.ToLower(req.Method)
	switch {
	case req.URL.Query().Get("watch") != "":
		verb = "watch"
	case verb == "get" && len(parts) == 1:
		verb = "list"
	}
	return "cluster " + verb + " " + resource, ""
}
