package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/stream"
)

// The times of connections.
const (
	headerTime  = 5 * time.Second  // for the header of a request, and for the first byte of a connection
	unknownIdle = 10 * time.Second // of a connection on which no caller was known yet
	knownIdle   = 2 * time.Minute
)

// Run serves on a listener until ctx ends; then requests under way may take Config.Drain.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	bounded := conns.Bound(l, conns.Config{
		Max: s.cfg.Limits.MaxConnections, Idle: unknownIdle, WriteBuffer: capacity.WriteBuffer, ReadBuffer: capacity.ReadBuffer,
		Closed: func(r conns.Reason) { s.metrics.closed.WithLabelValues(string(r)).Inc() },
	})
	s.listener.Store(bounded)
	srv := s.httpServer(ctx)
	secured := s.secure(bounded, srv)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(secured) }()
	telling := s.tellSkipped()
	defer telling()
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

func (s *Server) httpServer(ctx context.Context) *http.Server {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      s.cfg.Limits.RequestTimeout + 15*time.Second,
		IdleTimeout:       knownIdle,
		MaxHeaderBytes:    s.cfg.Limits.MaxHeader,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(s.cfg.Log.V(1)), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return baseContext(ctx) },
		ConnContext:       conns.Context,
		Protocols:         new(http.Protocols),
		// What one connection may hold: all of it is taken before anybody knows who the client is.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: s.cfg.Limits.ClientStreams + 28, MaxReadFrameSize: 16 << 10, MaxDecoderHeaderTableSize: 4 << 10, MaxEncoderHeaderTableSize: 4 << 10,
			MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 8 << 10,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: stream.WriteLimit,
		},
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(s.cfg.GetCertificate != nil)
	srv.Protocols.SetUnencryptedHTTP2(s.cfg.HTTP2Cleartext)
	return srv
}

// lifeKey is the key of the context that ends when the server is to end.
type lifeKey struct{}

// baseContext returns the context of the requests of a server that serves until ctx ends. It outlives ctx, so that requests
// under way are answered while the server drains; what would never end by itself asks lifeOf for ctx.
func baseContext(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), lifeKey{}, ctx)
}

// lifeOf is the context that ends when the server of a request is to end; without Run it never does.
func lifeOf(request context.Context) context.Context {
	if life, ok := request.Value(lifeKey{}).(context.Context); ok {
		return life
	}
	return context.Background()
}

// secure adds TLS to the listener if there is a certificate.
func (s *Server) secure(l net.Listener, srv *http.Server) net.Listener {
	if s.cfg.GetCertificate == nil {
		return l
	}
	srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.cfg.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
	return tls.NewListener(l, srv.TLSConfig)
}

// openConnections is how many connections are open.
func (s *Server) openConnections() int {
	if l := s.listener.Load(); l != nil {
		return l.Len()
	}
	return 0
}

// tellSkipped tells now and then which requests have no line in the log, and at the end once more.
func (s *Server) tellSkipped() (end func()) {
	tick := time.NewTicker(tellSkipped)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				s.accessLog.flush()
			case <-stop:
				s.accessLog.flush()
				return
			}
		}
	}()
	return func() { tick.Stop(); close(stop); <-done }
}
