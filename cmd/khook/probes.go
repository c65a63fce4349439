package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/server"
)

// Bounds of the port of the health probes: the kubelet makes a connection for each probe, and must get
// an answer however many others are open.
const (
	probeConnections = 64
	probeHeader      = 16 << 10 // bytes
	probeTime        = 5 * time.Second
)

// addProbePort adds the port with /healthz and /readyz to the manager, unless it is turned off. That of
// controller-runtime bounds neither connections nor what they may take.
func (p *pipeline) addProbePort(ctx context.Context, mgr ctrl.Manager) error {
	address := p.cmd.healthAddress()
	if address == "0" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"history": p.withheld("history", p.historyReady), "watch": p.withheld("watch", p.watchReady)},
	} {
		answer := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, answer)
		mux.Handle(path+"/", answer)
	}
	handler := http.Handler(mux)
	if p.cmd.APIAuth == "none" { // as on the other ports
		handler = server.OwnHost(p.cmd.hosts(), handler)
	}
	return mgr.Add(&manager.Server{
		Name: "health probe", Server: probeServer(handler, p.log.WithName("probes")),
		Listener: conns.Bound(l, conns.Config{Max: probeConnections, Idle: 2 * probeTime}), ShutdownTimeout: &p.cmd.ShutdownTimeout,
	})
}

func probeServer(answer http.Handler, log logr.Logger) *http.Server {
	srv := &http.Server{
		Handler: conns.Track(answer), ConnContext: conns.Context, MaxHeaderBytes: probeHeader,
		ReadHeaderTimeout: probeTime, ReadTimeout: probeTime, WriteTimeout: 6 * probeTime, IdleTimeout: 90 * time.Second,
		ErrorLog: slog.NewLogLogger(logr.ToSlogHandler(log.V(1)), slog.LevelDebug), Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	return srv
}
