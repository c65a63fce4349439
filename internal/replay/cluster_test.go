package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// change is one line of a recording, as a cluster serves it.
type change struct {
	t       time.Duration
	kind    watch.EventType
	path    string // of the list that the object is in
	object  json.RawMessage
	name    string // within the list
	fields  fields.Set
	version uint64
}

// changesOf are the lines of a recording, with their objects as they are written there. Where the recording has no resource
// version, or one that goes back, they get one, since an API server has no object without.
func changesOf(t *testing.T, path string) []change {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var changes []change
	newest := uint64(0)
	for line := range bytes.Lines(text) {
		c, err := changeOf(line, &newest)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	return changes
}

func changeOf(line []byte, newest *uint64) (change, error) {
	var raw struct {
		T      float64
		Type   watch.EventType
		Object json.RawMessage
	}
	var o struct {
		metav1.PartialObjectMetadata `json:",inline"`
		Type                         string
		Regarding                    struct{ Kind string }
	}
	if err := errors.Join(json.Unmarshal(line, &raw), json.Unmarshal(raw.Object, &o)); err != nil {
		return change{}, err
	}
	c := change{t: time.Duration(raw.T * float64(time.Second)), kind: raw.Type, path: "/api/v1/pods", object: raw.Object, name: o.Namespace + "/" + o.Name}
	if o.Kind == "Event" {
		c.path, c.fields = "/apis/events.k8s.io/v1/events", fields.Set{"regarding.kind": o.Regarding.Kind, "type": o.Type}
	}
	var err error
	if c.version, err = strconv.ParseUint(o.ResourceVersion, 10, 64); err == nil && c.version > *newest {
		*newest = c.version
		return c, nil
	}
	*newest++
	c.version = *newest
	c.object, err = withVersion(raw.Object, c.version)
	return c, err
}

func withVersion(object json.RawMessage, version uint64) (json.RawMessage, error) {
	var o map[string]any
	if err := json.Unmarshal(object, &o); err != nil {
		return nil, err
	}
	meta, ok := o["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("an object without metadata")
	}
	meta["resourceVersion"] = strconv.FormatUint(version, 10)
	return json.Marshal(o)
}

// cluster serves changes as an API server does: it lists and watches Pods and Events by resource version and field selector,
// with initial events and bookmarks for who asks for them. It does not end a watch by its timeout: what comes while one is
// opened again would be seen later than it was recorded.
type cluster struct {
	t        *testing.T
	server   http.Server
	listener *pipes
	client   http.Transport

	mu      sync.Mutex
	log     []change
	changed chan struct{} // closed when log or away changes
	away    bool
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, listener: newPipes(), changed: make(chan struct{})}
	c.server.Handler = c
	c.client.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.listener.dial(ctx) }
	go func() { _ = c.server.Serve(c.listener) }()
	return c
}

// kubernetes is a client as the controller's is: it would rather have protobuf, and takes JSON.
func (c *cluster) kubernetes() *kubernetes.Clientset {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: "http://cluster.invalid", Transport: &c.client, QPS: 50, Burst: 100, ContentConfig: rest.ContentConfig{
			ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// serve makes a change happen.
func (c *cluster) serve(next change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, next)
	close(c.changed)
	c.changed = make(chan struct{})
}

// leave ends all watches, and answers nobody any more.
func (c *cluster) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cluster) close() {
	_ = c.server.Close()
	c.client.CloseIdleConnections()
}

// ServeHTTP lists or watches.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/api/v1/pods" && r.URL.Path != "/apis/events.k8s.io/v1/events" {
		c.t.Errorf("khook asks for %s %s", r.Method, r.URL.Path)
	}
	q := r.URL.Query()
	selector, err := fields.ParseSelector(q.Get("fieldSelector"))
	if err != nil {
		c.t.Error(err)
	}
	seen := func(next change) bool { return next.path == r.URL.Path && selector.Matches(next.fields) }
	w.Header().Set("Content-Type", "application/json")
	switch {
	case c.isAway():
		<-r.Context().Done()
	case q.Get("watch") == "true":
		c.watch(w, r, seen)
	default:
		c.list(w, r.URL.Path, seen)
	}
}

func (c *cluster) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// state is what is there now, by name, and the newest version.
func (c *cluster) state(seen func(change) bool) (there []change, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	byName := map[string]change{}
	for _, next := range c.log {
		version = max(version, next.version)
		switch {
		case !seen(next):
		case next.kind == watch.Deleted:
			delete(byName, next.name)
		default:
			byName[next.name] = next
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		there = append(there, byName[name])
	}
	return there, max(version, 1)
}

func (c *cluster) list(w http.ResponseWriter, path string, seen func(change) bool) {
	there, version := c.state(seen)
	items := make([]json.RawMessage, len(there))
	for i := range there {
		items[i] = there[i].object
	}
	kind, group := "PodList", "v1"
	if strings.Contains(path, "events") {
		kind, group = "EventList", "events.k8s.io/v1"
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": kind, "apiVersion": group, "metadata": map[string]string{"resourceVersion": strconv.FormatUint(version, 10)}, "items": items,
	})
}

// watch streams what is there, if that is asked for, and what changes after a resource version.
func (c *cluster) watch(w http.ResponseWriter, r *http.Request, seen func(change) bool) {
	q, after := r.URL.Query(), uint64(0)
	if q.Get("sendInitialEvents") == "true" {
		there, version := c.state(seen)
		for _, next := range there {
			send(w, watch.Added, next.object)
		}
		send(w, watch.Bookmark, bookmark(r.URL.Path, version))
		after = version
	} else if _, err := fmt.Sscan(q.Get("resourceVersion"), &after); err != nil {
		c.t.Errorf("khook watches from no version: %s", r.URL)
	}
	for sent := 0; ; {
		c.mu.Lock()
		news, changed, away := c.log[sent:], c.changed, c.away
		c.mu.Unlock()
		for _, next := range news {
			if seen(next) && next.version > after {
				send(w, next.kind, next.object)
			}
		}
		sent += len(news)
		_ = http.NewResponseController(w).Flush()
		if away {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func send(w http.ResponseWriter, kind watch.EventType, object json.RawMessage) {
	_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": object})
}

// bookmark says that all that was there has been sent.
func bookmark(path string, version uint64) json.RawMessage {
	kind, group := "Pod", "v1"
	if strings.Contains(path, "events") {
		kind, group = "Event", "events.k8s.io/v1"
	}
	return fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d","annotations":{%q:"true"}}}`,
		kind, group, version, metav1.InitialEventsAnnotationKey)
}

// pipes is a network in memory: who waits for it is known to wait.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept is part of net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is part of net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "cluster", Net: "pipe"} }
