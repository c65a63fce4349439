package server

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kagent-dev/khook/internal/access"
	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/boundedlog"
	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/feed"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/lint"
	"github.com/kagent-dev/khook/internal/store"
)

// Config holds the settings of a Server.
type Config struct {
	Reader *store.Reader // of the history
	// ServeClusters serves the other clusters of the history's database too, to callers who may read those.
	ServeClusters bool
	Hooks         client.Reader  // of Hooks; its cache serves them
	Feed          *feed.Feed     // of live streams; nil for none
	Feeds         *feed.Clusters // of those of other clusters; nil for none
	Access        access.Control // who may read what; nil: everybody may read everything
	// Hosts are the names by which khook may be called while Access is nil, beside localhost and IP addresses.
	Hosts []string
	// TrustedProxies are the addresses of proxies that say for whom they ask, by X-Forwarded-For or Forwarded.
	TrustedProxies []netip.Prefix
	// ExternalURL is the URL by which people reach khook; nil if it is not known. What is asked for below its path is answered
	// as what is asked for below /.
	ExternalURL *url.URL
	// TokenAudience is the one that a token must have been made for, to say so to who has none; empty if
	// those of the API server do too.
	TokenAudience string
	State         State // how khook does
	// Actions does what people want done with deliveries; nil: they can't.
	Actions Actions
	// Pausing stops and resumes calls; nil: nobody can.
	Pausing Pausing
	// Validate checks manifests of Hooks.
	Validate func(ctx context.Context, manifests []byte) lint.Report
	Explain  Explain // what would be decided about an incident
	// Configurations are those of a Hook as this replica knows it; may be nil.
	Configurations func(delivery.HookRef) []*hook.Config
	VerifyWindow   time.Duration // of configurations that say nothing else
	Registry       interface {
		prometheus.Registerer
		prometheus.Gatherer
	}
	Log logr.Logger

	Version   string
	Retention time.Duration // the longest range of the statistics
	Settings  map[string]any

	Limits   Limits
	Warnings func() []string // of the settings, and of notifiers that take nothing, for the health; nil if there are none
	Pprof    bool            // serve /debug/pprof
	// Dashboard is the page for people, beside the API; nil for none.
	Dashboard Dashboard

	// GetCertificate is the certificate of TLS, as in tls.Config; nil: no TLS.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	HTTP2Cleartext bool // take HTTP/2 without TLS too
	Drain          time.Duration
}

// Limits bound what clients can ask for; zero values take the defaults.
type Limits struct {
	Rate           float64       // requests a second of one client; 50
	Burst          int           // requests of one client at once; 100
	RequestTimeout time.Duration // of one request; 15 s
	MaxBody        int64         // bytes of a text with Hooks; 256 KiB
	MaxHeader      int           // bytes; 32 KiB
	MaxConnections int           // at the same time; 20,000
	Callers        int           // that are told apart, and as many addresses; 10,000
	Streams        int           // live streams at the same time; 10,000
	ClientStreams  int           // of one client; 100
	CatchUps       int           // streams that hold messages of the history at the same time; 16
	Validations    int           // texts with Hooks that are checked at the same time; 2
	BodyBytes      int64         // of all bodies of requests at the same time; 16 MiB
	ResponseBytes  int64         // of memory of all answers under way at the same time; 512 MiB
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
	set(&l.Callers, 10_000)
	set(&l.Streams, 10_000)
	set(&l.ClientStreams, 100)
	if l.RequestTimeout == 0 {
		l.RequestTimeout = 15 * time.Second
	}
	large := func(n *int64, unset int64) {
		if *n == 0 {
			*n = unset
		}
	}
	set(&l.CatchUps, 16)
	set(&l.Validations, 2)
	large(&l.MaxBody, capacity.MaxManifests)
	large(&l.BodyBytes, 16<<20)
	large(&l.ResponseBytes, 512<<20)
	return l
}

// Server is the HTTP API.
type Server struct {
	cfg       Config
	mux       *http.ServeMux
	api       huma.API
	handler   http.Handler
	metrics   *serverMetrics
	limits    *limiters
	origins   addresses
	external  *url.URL // nil if it is not known
	prefix    string   // the path of the external URL, with a slash at its end
	health    recent[api.Health]
	probe     recent[writeProbe]
	started   time.Time
	streams   *streamCount
	gates     *gates
	accessLog *accessLog

	listener atomic.Pointer[conns.Listener] // nil while none is served
}

// New returns a server; Run serves it.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Settings == nil {
		cfg.Settings = map[string]any{}
	}
	if cfg.Explain == nil {
		cfg.Explain = noExplain
	}
	requests := newAccessLog(cfg.Log)
	cfg.Log = boundedlog.New(cfg.Log) // most of its lines can be caused by anybody
	s := &Server{accessLog: requests, gates: newGates(cfg.Limits), cfg: cfg, mux: http.NewServeMux(), started: time.Now(), metrics: newMetrics(cfg.Registry)}
	s.limits, s.origins = newLimiters(cfg.Limits), addresses{cfg.TrustedProxies}
	s.external, s.prefix = cfg.ExternalURL, prefixOf(cfg.ExternalURL)
	s.streams = &streamCount{most: cfg.Limits.Streams, mostEach: cfg.Limits.ClientStreams, byClient: map[string]int{}, changed: func(n int) { s.metrics.streams.Set(float64(n)) }}
	s.api = humago.New(s.mux, apiConfig(cfg.Version))
	ownErrors(s.api)
	s.registerRoutes()
	if err := s.registerDocuments(); err != nil {
		return nil, err
	}
	s.handler = s.middleware()
	return s, nil
}

// Handler answers the requests.
func (s *Server) Handler() http.Handler { return s.handler }
