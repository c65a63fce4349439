package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/store"
)

// Config holds the settings of a Server.
type Config struct {
	Store  *store.Store
	Hooks  client.Reader // of Hooks; its cache serves them
	Feed   *feed.Feed    // of live streams; nil for none
	Access Access        // who may read what; nil: everybody may read everything
	// Hosts are the names by which khook may be called while Access is nil, beside localhost and IP addresses.
	Hosts []string
	// TrustedProxies are the addresses of proxies that say for whom they ask, by X-Forwarded-For or Forwarded.
	TrustedProxies []netip.Prefix
	// TokenAudience is the one that a token must have been made for, to say so to who has none; empty if
	// those of the API server do too.
	TokenAudience string
	State         State // how khook does
	// Actions does what people want done with deliveries; nil: they can't.
	Actions Actions
	// Validate checks manifests of Hooks.
	Validate func(ctx context.Context, manifests []byte) hook.Report
	Registry interface {
		prometheus.Registerer
		prometheus.Gatherer
	}
	Log logr.Logger

	Version   string
	Retention time.Duration // the longest range of the statistics
	Settings  map[string]any

	Limits Limits
	Pprof  bool // serve /debug/pprof

	// GetCertificate is the certificate of TLS, as in tls.Config; nil: no TLS.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Drain          time.Duration
}

// Limits bound what clients can ask for; zero values take the defaults.
type Limits struct {
	Rate           float64       // requests a second of one client; 50
	Burst          int           // requests of one client at once; 100
	RequestTimeout time.Duration // of one request; 15 s
	MaxBody        int64         // bytes; 1 MiB
	MaxHeader      int           // bytes; 32 KiB
	MaxConnections int           // at the same time; 20,000
	Streams        int           // live streams at the same time; 10,000
	ClientStreams  int           // of one client; 100
}

func (l Limits) withDefaults() Limits {
	set := func(n *int, unset int) {
		if *n == 0 {
			*n = unset
		}
	}
	if l.Rate == 0 {
		l.Rate = 50
	}
	set(&l.Burst, 100)
	set(&l.MaxHeader, 32<<10)
	set(&l.MaxConnections, 20_000)
	set(&l.Streams, 10_000)
	set(&l.ClientStreams, 100)
	if l.RequestTimeout == 0 {
		l.RequestTimeout = 15 * time.Second
	}
	if l.MaxBody == 0 {
		l.MaxBody = 1 << 20
	}
	return l
}

// Server is the HTTP API.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	api     huma.API
	handler http.Handler
	meters  *meters
	limits  *limiters
	addresses
	health  healthCache
	started time.Time
	conns   connCount
	streams *streamCount

	stopping context.Context //nolint:containedctx // ends when the server is to end
}

// New returns a server; Run serves it.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Settings == nil {
		cfg.Settings = map[string]any{}
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), started: time.Now(), meters: newMeters(cfg.Registry)}
	s.limits, s.addresses, s.stopping = newLimiters(cfg.Limits), addresses{cfg.TrustedProxies}, context.Background()
	s.streams = &streamCount{most: cfg.Limits.Streams, mostEach: cfg.Limits.ClientStreams, byClient: map[string]int{}, changed: func(n int) { s.meters.streams.Set(float64(n)) }}
	s.api = humago.New(s.mux, apiConfig(cfg.Version))
	s.registerRoutes()
	if err := s.registerRaw(); err != nil {
		return nil, err
	}
	s.handler = s.chain()
	return s, nil
}

// Handler answers the requests.
func (s *Server) Handler() http.Handler { return s.handler }

// Base is the path below which all routes are, but those of pprof.
const Base = "/api/v1"

// Run serves on a listener until ctx ends; then requests under way may take Config.Drain.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	s.stopping = ctx
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      s.cfg.Limits.RequestTimeout + 15*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    s.cfg.Limits.MaxHeader,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.cfg.Log.V(1)), slog.LevelDebug),
		ConnState:         s.conns.changed,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	l = s.secure(bounded(l, s.cfg.Limits.MaxConnections), srv)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	s.cfg.Log.Info("the HTTP API listens", "address", l.Addr().String(), "tls", s.cfg.GetCertificate != nil, "authentication", s.cfg.Access != nil)
	select {
	case err := <-failed:
		return fmt.Errorf("serve the HTTP API: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		s.cfg.Log.Info("requests were under way when the HTTP API ended", "waited", s.cfg.Drain.String())
		return srv.Close()
	}
	return nil
}

// secure adds TLS to the listener if there is a certificate.
func (s *Server) secure(l net.Listener, srv *http.Server) net.Listener {
	if s.cfg.GetCertificate == nil {
		return l
	}
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.cfg.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
	return tls.NewListener(l, srv.TLSConfig)
}
