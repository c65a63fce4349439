package kagenttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2acompat/a2av0"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/kagent-dev/khook/internal/agent"
	"github.com/kagent-dev/khook/internal/delivery"
)

// Options say what the server is like; zero values take the defaults.
type Options struct {
	Addr     string              // where it listens; default a free port of 127.0.0.1
	Listener net.Listener        // instead of Addr: a network of the test's own
	Dialect  string              // one of agent.Dialects; default agent.Kagent10
	Agents   []delivery.AgentRef // those that exist; default every name
	Script   Script              // what the agents do; default DefaultScript
	NoStream bool                // the cards offer no streams
	Cancels  bool                // the agents can be canceled; else they refuse, as kagent's Python agents do
	// Token is the bearer token without which nothing but /health is answered, as behind a
	// trusted proxy; "" lets everybody in.
	Token string
	// TrustedProxy makes the caller the one that its bearer token, a JWT, is about, whatever the headers say; who has none is refused.
	TrustedProxy bool
	// KeepAlive is how often an idle stream gets a comment; zero for never.
	KeepAlive time.Duration
	// MaxRecords bounds what is recorded of each sort, the oldest is dropped; default 10,000.
	MaxRecords int
}

// Server is a running kagent.
type Server struct {
	URL string // without a slash at its end

	opts   Options
	listen net.Listener
	http   *http.Server
	served chan struct{}
	over   context.Context //nolint:containedctx // ends with the server
	end    context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // executions

	dialect     atomic.Value // string
	token       atomic.Value // string
	v1, v0      http.Handler
	tasks       *taskStore
	queues      *queues
	records     *records
	faults      *faults
	once        *once
	credentials *credentials
	rest        *sessionStore
}

// Start starts a server, which runs until it is closed.
func Start(opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Dialect == "" {
		opts.Dialect = agent.Kagent10
	}
	if opts.Script == nil {
		opts.Script = DefaultScript
	}
	if opts.MaxRecords == 0 {
		opts.MaxRecords = 10_000
	}
	listener := opts.Listener
	if listener == nil {
		var err error
		if listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", opts.Addr); err != nil {
			return nil, fmt.Errorf("listen for the test's kagent: %w", err)
		}
	}
	s := &Server{
		URL: "http://" + listener.Addr().String(), opts: opts, listen: listener, served: make(chan struct{}),
		queues: newQueues(), records: newRecords(opts.MaxRecords), faults: &faults{},
		rest: newSessions(opts.MaxRecords), credentials: newCredentials(),
	}
	s.tasks = newTasks(opts.MaxRecords, s.restful)
	s.over, s.end = context.WithCancel(context.Background())
	s.dialect.Store(opts.Dialect)
	s.token.Store(opts.Token)
	handler := a2asrv.NewHandler(&executor{s}, a2asrv.WithTaskStore(s.tasks), a2asrv.WithEventQueueManager(s.queues), a2asrv.WithLogger(silent), a2asrv.WithCallInterceptors(ownership{}))
	s.once = newOnce(s, handler)
	keepAlive := a2asrv.WithTransportKeepAlive(opts.KeepAlive)
	s.v1, s.v0 = a2asrv.NewJSONRPCHandler(s.once, keepAlive), a2av0.NewJSONRPCHandler(s.once, keepAlive)
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return s.over }}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener)
	}()
	return s, nil
}

// TB is what New needs of a test.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(func())
}

// New starts a server for a test, and closes it at the test's end.
func New(t TB, opts Options) *Server {
	t.Helper()
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Close ends all tasks and connections, and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	err := s.http.Close()
	<-s.served
	s.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

var errOver = errors.New("the server is closed")

// begin counts an execution, which must call running.Done; not when the server is closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

func (s *Server) spawn(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.running.Done()
		f()
	}()
	return true
}

// Dialect is the one that the server speaks now.
func (s *Server) Dialect() string { return s.dialect.Load().(string) }

// SetDialect makes the server speak another one from the next request on, as an upgrade would.
// Its tasks stay.
func (s *Server) SetDialect(name string) { s.dialect.Store(name) }

type dialectKey struct{}

// dialectOf is the one in which a request is served: that which the server spoke when it came. An upgrade changes none that is under way.
func (s *Server) dialectOf(ctx context.Context) string {
	if name, ok := ctx.Value(dialectKey{}).(string); ok {
		return name
	}
	return s.Dialect()
}

// restful says whether a request is served by a version up to 0.10: with REST routes, agents whose errors kagent can't read, and tasks that
// anybody may see.
func (s *Server) restful(ctx context.Context) bool {
	d := s.dialectOf(ctx)
	return d == agent.Kagent05 || d == agent.Kagent097
}

// SetToken makes another bearer token the only right one.
func (s *Server) SetToken(token string) { s.token.Store(token) }

// Vanish makes the server forget a task.
func (s *Server) Vanish(taskID string) { s.tasks.remove(taskID) }

// exists says whether kagent has the agent.
func (s *Server) exists(ref delivery.AgentRef) bool {
	if len(s.opts.Agents) == 0 {
		return true
	}
	return slices.Contains(s.opts.Agents, ref)
}
