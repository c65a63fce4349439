package main

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
func (p *pipeline) addMetricsPort(ctx context.Context, mgr ctrl.Manager, a *apiServer, own certificate) error {
	address := p.options.metricsAddress()
	if address == "0" {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--metrics-bind-address: %w", err)
	}
	log, handler := p.log.WithName("metrics"), scrape.Open(ctrlmetrics.Registry)
	switch {
	case p.options.MetricsSecure:
		handler = a.server.MetricsPort()
	case p.options.APIAuth == "none": // then the port is within reach of pages of other sites, by DNS rebinding
		handler = server.OwnHost(p.options.hosts(), handler)
	}
	log.Info("the metrics port listens", "address", l.Addr().String(), "secure", p.options.MetricsSecure)
	return mgr.Add(&manager.Server{Name: "metrics", Server: scrape.Server(handler, log), Listener: scrape.Listener(l, own), ShutdownTimeout: &p.options.ShutdownTimeout})
}
