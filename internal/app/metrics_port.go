package app

import (
	"context"
	"fmt"
	"net"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kagent-dev/khook/internal/scrape"
	"github.com/kagent-dev/khook/internal/server"
)

// addMetricsPort adds the port of the metrics to the manager, unless it is turned off.
func (a *App) addMetricsPort(ctx context.Context, mgr ctrl.Manager, api *apiServer, own certificate) error {
	address := a.options.metricsAddress()
	if address == "0" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--metrics-bind-address: %w", err)
	}
	log, handler := a.log.WithName("metrics"), scrape.Open(ctrlmetrics.Registry)
	switch {
	case a.options.MetricsSecure:
		handler = api.server.MetricsPort()
	case a.options.APIAuth == "none": // then the port is within reach of pages of other sites, by DNS rebinding
		handler = server.OwnHost(a.options.hosts(), handler)
	}
	log.Info("the metrics port listens", "address", l.Addr().String(), "secure", a.options.MetricsSecure)
	return mgr.Add(&manager.Server{Name: "metrics", Server: scrape.Server(handler, log), Listener: scrape.Listener(l, own), ShutdownTimeout: &a.options.ShutdownTimeout})
}
