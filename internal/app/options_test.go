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

func TestAnExternalURLHasAPathThatACookieCanBeFor(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, "https://ops.example.com": true, "https://ops.example.com/": true, "https://ops.example.com/khook": true, "http://ops.example.com:8080/a/khook/": true,
		"https://ops.example.com//khook": false, "https://ops.example.com/../khook": false, "https://ops.example.com/a;b": false, "https://ops.example.com/%20": false,
		"ops.example.com/khook": false, "https://ann:secret@ops.example.com": false, "https://ops.example.com/?a=b": false,
	} {
		if _, err := (&Options{ExternalURL: text}).externalURL(); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
