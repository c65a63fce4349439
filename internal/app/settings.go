package app

import (
	"maps"
	"slices"

	"github.com/kagent-dev/khook/internal/capacity"
	"github.com/kagent-dev/khook/internal/redact"
)

// Settings are the options as they count, by the names of their flags, for people who look for a cause. What may be
// secret is left out: the values of headers, and what a URL holds beside host and path.
func (o *Options) Settings() map[string]any {
	settings := map[string]any{
		"kubeconfig": o.Kubeconfig, "cluster": o.Cluster, "namespaces": o.Namespaces,
		"pending-after": o.PendingAfter.String(), "stabilization": o.Stabilization.String(), "quiet-after": o.QuietAfter.String(), "catch-up": o.CatchUp.String(),
		"database": o.databaseShown(), "database-file": o.DatabaseFile, "database-max-connections": o.DatabaseMaxConnections, "retention": o.Retention.String(),
		"log-level": o.LogLevel, "log-format": o.LogFormat,
	}
	maps.Copy(settings, o.agentSettings())
	maps.Copy(settings, o.apiSettings())
	maps.Copy(settings, o.servingSettings())
	return settings
}

func (o *Options) agentSettings() map[string]any {
	return map[string]any{
		"kagent-url": redact.URL(o.KagentURL), "kagent-user-id": o.KagentUserID, "kagent-timeout": o.KagentTimeout.String(), "kagent-token-file": o.KagentTokenFile,
		"kagent-header": slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(o.KagentHeaders)))), "kagent-dialect": o.KagentDialect,
		"agent-namespaces": o.AgentNamespaces, "allow-plain-values": o.AllowPlainValues, "agent-concurrency": o.AgentConcurrency,
		"agent-check-every": o.AgentCheckEvery.String(), "verify-window": o.VerifyWindow.String(), "dedup-window": o.DedupWindow.String(),
		"max-calls-per-hour": o.MaxCallsPerHour, "notifiers-file": o.NotifiersFile, "external-url": o.ExternalURL,
	}
}

func (o *Options) apiSettings() map[string]any {
	return map[string]any{
		"api-bind-address": o.apiAddress(), "serve-clusters": o.ServeClusters, "api-auth": o.APIAuth, "api-audiences": o.APIAudiences, "allowed-hosts": o.AllowedHosts, "service-name": o.ServiceName,
		"trusted-proxies": o.TrustedProxies, "api-open-to-everybody-on-the-network": o.APIOpenToAll,
		"api-tls-cert-file": o.APITLSCertFile, "api-tls-key-file": o.APITLSKeyFile, "api-tls-self-signed": o.APITLSSelfSigned,
		"api-rate-limit": o.APIRateLimit, "api-rate-burst": o.APIRateBurst, "api-request-timeout": o.APIRequestTimeout.String(),
		"api-max-streams": o.APIMaxStreams, "api-max-streams-per-client": o.APIMaxClientStreams, "api-max-connections": o.APIMaxConnections,
		"api-http2-cleartext": o.APIHTTP2Cleartext, "api-pprof": o.APIPprof, "dashboard": o.Dashboard,
	}
}

func (o *Options) servingSettings() map[string]any {
	return map[string]any{
		"metrics-bind-address": o.metricsAddress(), "health-probe-bind-address": o.healthAddress(), "metrics-secure": o.MetricsSecure,
		"metrics-tls-cert-file": o.MetricsTLSCertFile, "metrics-tls-key-file": o.MetricsTLSKeyFile, "tls-names": o.TLSNames, "tls-ca-configmap": o.TLSCAConfigMap, "tls-authority-secret": o.TLSAuthoritySecret,
		"leader-elect": o.LeaderElect, "leader-election-id": o.LeaderElectionID, "leader-election-namespace": o.LeaderElectionNamespace,
		"shutdown-delay":   o.ShutdownDelay.String(),
		"shutdown-timeout": o.ShutdownTimeout.String(),
	}
}

// settings are the options as they count, with what the memory has room for where it was not said.
func (a *App) settings() map[string]any {
	settings := a.options.Settings()
	settings["api-max-streams"], settings["api-max-connections"] = a.plan.N(capacity.Streams), a.plan.N(capacity.Connections)
	return settings
}
