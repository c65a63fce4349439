// Package scrape is the port from which Prometheus gets khook's metrics: the bounds on what clients may
// hold of it, and what it tells to those who are not asked who they are.
//
// It must not tell the names of namespaces or of anything else that is in the cluster to a stranger.
package scrape

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/conns"
)

// Bounds of the port. One Prometheus needs one connection.
const (
	maxConnections = 64
	maxScrapes     = 3 // at the same time; further ones get 503
	maxHeader      = 32 << 10
)

// Path is where the metrics are.
const Path = "/metrics"

// Open answers everybody with the metrics that name nothing in the cluster.
func Open(g prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, promhttp.HandlerFor(WithoutNamespaces(g), promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes}))
	return conns.Track(mux)
}

// Server serves a handler with bounds on what clients may hold.
func Server(h http.Handler, log logr.Logger) *http.Server {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       90 * time.Second, // more than Prometheus' usual pause of a minute
		MaxHeaderBytes:    maxHeader,
		ConnContext:       conns.Context,
		ErrorLog:          slog.NewLogLogger(logr.ToSlogHandler(log.V(1)), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	return srv
}

// Listener accepts a bounded number of connections at a time, with TLS if there is a certificate. Beyond that
// the one that has been idle for longest makes room: a Prometheus gets in whoever holds the others.
func Listener(l net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) net.Listener {
	bounded := conns.Bound(l, conns.Config{Max: maxConnections, WriteBuffer: capacity.WriteBuffer, ReadBuffer: capacity.ReadBuffer})
	if certificate == nil {
		return bounded
	}
	return tls.NewListener(bounded, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, NextProtos: []string{"http/1.1"}})
}
