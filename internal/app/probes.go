package app

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
func (a *App) addProbePort(ctx context.Context, mgr ctrl.Manager) error {
	address := a.options.healthAddress()
	if address == "0" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--health-probe-bind-address: %w", err)
	}
	return mgr.Add(&manager.Server{
		Name: "health probe", Server: probeServer(a.probeHandler(), a.log.WithName("probes")),
		Listener: conns.Bound(l, conns.Config{Max: probeConnections, Idle: 2 * probeTime}), ShutdownTimeout: &a.options.ShutdownTimeout,
	})
}

// probeHandler answers the probes. Where nobody is asked who they are, it is within reach of pages of other sites as
// the other ports are (DNS rebinding), and refuses them as these do; the kubelet asks for the Pod's IP address.
func (a *App) probeHandler() http.Handler {
	mux := http.NewServeMux()
	for path, checks := range map[string]map[string]healthz.Checker{
		"/healthz": {"ping": healthz.Ping},
		"/readyz":  {"history": a.withheld("history", a.historyReady), "watch": a.withheld("watch", a.watchReady)},
	} {
		answer := http.StripPrefix(path, &healthz.Handler{Checks: checks})
		mux.Handle(path, answer)
		mux.Handle(path+"/", answer)
	}
	if a.options.APIAuth == "none" {
		return server.OwnHost(a.options.hosts(), mux)
	}
	return mux
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
