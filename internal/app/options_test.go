package app

import (
	"testing"
)

func TestVariablesOfTheOriginalSetTheAddresses(t *testing.T) {
	c := Options{MetricsBindAddress: defaultMetricsAddress, HealthProbeBindAddress: defaultHealthAddress, MetricsPort: 9999}
	if c.metricsAddress() != ":9999" || c.healthAddress() != ":8081" {
		t.Errorf("%s %s", c.metricsAddress(), c.healthAddress())
	}
	if c.MetricsBindAddress = "127.0.0.1:1"; c.metricsAddress() != "127.0.0.1:1" {
		t.Error("the variable wins over the flag")
	}
}
