package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kagent-dev/khook/internal/conns"
	"github.com/kagent-dev/khook/internal/hook"
	"github.com/kagent-dev/khook/internal/redact"
	"github.com/kagent-dev/khook/internal/store/postgres"
)

// Options are the settings of the process, named as the flags of khook controller are. The zero value is of no
// use: the command line has the defaults. Validate says what can't be meant.
type Options struct {
	// Kubeconfig of the cluster; the KUBECONFIG variable, the in-cluster account or ~/.kube/config if empty.
	Kubeconfig string
	// Name of the cluster, told to people and agents; it can change. What the cluster is known by in its history is ClusterUID: the UID of the
	// namespace kube-system if empty.
	Cluster, ClusterUID string
	// Watch these namespaces only; all if empty.
	Namespaces []string

	// How long a Pod may be Pending before that is an event.
	PendingAfter time.Duration
	// How long a Pod must be healthy before its incidents end as recovered.
	Stabilization time.Duration
	// How long nothing new must be seen before an incident ends as quiet.
	QuietAfter time.Duration
	// How far back failures that happened before the start are taken up.
	CatchUp time.Duration

	// Base URL of kagent.
	KagentURL string
	// Who khook is for kagent (X-User-Id).
	KagentUserID string
	// Time limit of one HTTP request to kagent; an agent's task may take longer, see the Hook's timeout.
	KagentTimeout time.Duration
	// File with a bearer token for kagent, read again when it changes.
	KagentTokenFile string
	// Further header of each request to kagent; may be repeated.
	KagentHeaders map[string]string
	// Dialect of kagent; found out per agent if empty.
	KagentDialect string
	// Namespaces whose agents every Hook may call, beside those of its own namespace; * for all.
	AgentNamespaces []string
	// Let Hooks ask (plainValues) for prompts in which what the cluster says is not marked as data, so that an agent may take a message that somebody wrote for an instruction.
	AllowPlainValues bool
	// Tasks of one agent at the same time.
	AgentConcurrency int
	// How often the agents that Hooks name are looked for.
	AgentCheckEvery time.Duration
	// How long the cluster is watched for recovery after an agent finished.
	VerifyWindow time.Duration

	// For how long a call keeps further events of its group from calling again, where a Hook does not say (dedupWindow).
	DedupWindow time.Duration

	// File with the notifiers, by which people are told of what they must know; nobody is told if empty.
	NotifiersFile string
	// The URL by which people reach khook, such as https://ops.example.com/khook; messages to people then have links, and khook answers below its path too.
	ExternalURL string

	// How many calls all Hooks together may make within an hour; 0 for no limit. What is held back is told to the agent with the next call.
	MaxCallsPerHour int

	// SQLite file of the history, or the URL of a PostgreSQL database (postgres://USER:PASSWORD@HOST/DATABASE).
	Database string
	// File with the URL of the PostgreSQL database, read again at each new connection; it wins over Database.
	DatabaseFile string
	// Connections to the PostgreSQL database at the same time.
	DatabaseMaxConnections int
	// How long history is kept.
	Retention time.Duration

	// Address of the HTTP API; 0 turns it off.
	APIBindAddress string
	// Serve the other clusters of the PostgreSQL database too, for reading: each to those who may list the virtual resource clusters.khook.kagent.dev with the cluster's name.
	ServeClusters bool
	// Who may read over the HTTP API: whom Kubernetes lets, asked by khook (kubernetes) or in the caller's own name, which needs no rights of khook's (caller); or everybody (none), then on the loopback address only.
	APIAuth string
	// Audiences for one of which a token must have been made. If empty, the API server's own and khook. With khook alone, a token for khook opens nothing else; but the tokens of exec plugins and of OpenID Connect, which are for the API server, are refused then.
	APIAudiences []string
	// Further names by which khook may be called with --api-auth=none, beside localhost, IP addresses and the names of its Service.
	AllowedHosts []string
	// Name of khook's Service.
	ServiceName string
	// Networks of the proxies whose X-Forwarded-For (or else Forwarded) tells for whom they ask. All others' is ignored.
	TrustedProxies []string
	// With --api-auth=none: listen on any address all the same, so that whoever reaches it reads everything.
	APIOpenToAll bool
	// Certificate of the HTTP API in PEM, read again when it changes; no TLS if empty.
	APITLSCertFile string
	// Its private key in PEM.
	APITLSKeyFile string
	// Serve TLS with a certificate of khook's own authority, whose certificate is kept beside the history (tls/ca.crt).
	APITLSSelfSigned bool
	// Requests a second of one client.
	APIRateLimit float64
	// Requests of one client at once.
	APIRateBurst int
	// How long an answer may take.
	APIRequestTimeout time.Duration
	// Live streams at the same time; 0 for as many as the memory has room for, at most 10000.
	APIMaxStreams int
	// Live streams of one client at the same time.
	APIMaxClientStreams int
	// Connections to the HTTP API at the same time; 0 for as many as the memory has room for, at most 20000.
	APIMaxConnections int
	// Take HTTP/2 also without TLS, from proxies that speak it; HTTP/2 with TLS is always taken.
	APIHTTP2Cleartext bool
	// Serve the dashboard at / of the HTTP API's address.
	Dashboard bool
	// Serve Go's profiles at /debug/pprof to those who may get that path.
	APIPprof bool

	// Address of the Prometheus metrics; 0 turns them off.
	MetricsBindAddress string
	// Address of /healthz and /readyz; 0 turns them off.
	HealthProbeBindAddress string
	// Serve the metrics with TLS, to those only who may get the path /metrics; who they are is found out as --api-auth says. Without it, everybody gets them, without the names of namespaces.
	MetricsSecure bool
	// Certificate of the metrics port in PEM, read again when it changes; one of khook's own authority if empty.
	MetricsTLSCertFile string
	// Its private key in PEM.
	MetricsTLSKeyFile string
	// Names and addresses in the certificates of khook's own authority, beside those of the loopback address.
	TLSNames []string
	// ConfigMap in khook's namespace into which khook writes the certificate of its own authority (ca.crt). It must exist.
	TLSCAConfigMap string
	// Secret in khook's namespace in which khook keeps its own authority, so that several replicas have the same one; beside the history if empty. It must exist.
	TLSAuthoritySecret string
	// Port of the metrics on all addresses, as the original khook has it.
	MetricsPort int
	// Port of the health probes on all addresses, as the original khook has it.
	HealthPort int
	// Let one of several replicas watch and call; the others stand by.
	LeaderElect bool
	// Name of the leader election's Lease.
	LeaderElectionID string
	// Namespace of the leader election's Lease; khook's own if empty.
	LeaderElectionNamespace string
	// How long khook goes on as before when it is told to stop, so that others learn to ask another replica.
	ShutdownDelay time.Duration
	// How long steps under way may take at a stop.
	ShutdownTimeout time.Duration

	// Level of the log: debug, info, warn or error.
	LogLevel string
	// Format of the log: json or text.
	LogFormat string
}

// Validate says what can't be meant, all of it at once; the errors name the flags.
func (o *Options) Validate() error {
	var errs []error
	atLeast := func(flag string, d, least time.Duration) {
		if d < least {
			errs = append(errs, fmt.Errorf("%s is %s: it must be at least %s", flag, d, least))
		}
	}
	atLeast("--pending-after", o.PendingAfter, time.Second)
	atLeast("--stabilization", o.Stabilization, time.Second)
	atLeast("--quiet-after", o.QuietAfter, time.Second)
	atLeast("--catch-up", o.CatchUp, time.Second)
	atLeast("--shutdown-delay", o.ShutdownDelay, 0)
	atLeast("--shutdown-timeout", o.ShutdownTimeout, 0)
	atLeast("--kagent-timeout", o.KagentTimeout, time.Second)
	atLeast("--agent-check-every", o.AgentCheckEvery, time.Second)
	atLeast("--verify-window", o.VerifyWindow, time.Second)
	atLeast("--retention", o.Retention, time.Hour)
	atLeast("--api-request-timeout", o.APIRequestTimeout, time.Second)
	errs = append(errs, o.checkAPI()...)
	errs = append(errs, o.checkTLS()...)
	errs = append(errs, o.checkDatabase()...)
	if o.Retention < o.CatchUp {
		errs = append(errs, fmt.Errorf("--retention is %s: it must not be shorter than --catch-up (%s), or what was deleted would be told again", o.Retention, o.CatchUp))
	}
	errs = append(errs, checkNamespaces("--namespaces", o.Namespaces)...)
	errs = append(errs, checkNamespaces("--agent-namespaces", slices.DeleteFunc(slices.Clone(o.AgentNamespaces), func(ns string) bool { return ns == "*" }))...)
	if o.DedupWindow < time.Second || o.DedupWindow > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--dedup-window is %s: it must be from 1s to 24h", o.DedupWindow))
	}
	if why := validation.IsDNS1123Subdomain(o.LeaderElectionID); len(why) > 0 {
		errs = append(errs, fmt.Errorf("--leader-election-id is %q, which is no name of a Lease", o.LeaderElectionID))
	}
	if o.MaxCallsPerHour < 0 {
		errs = append(errs, fmt.Errorf("--max-calls-per-hour is %d: it must be at least 1, or 0 for no limit", o.MaxCallsPerHour))
	}
	if _, err := o.externalURL(); err != nil {
		errs = append(errs, err)
	}
	if o.AgentConcurrency < 1 {
		errs = append(errs, fmt.Errorf("--agent-concurrency is %d: it must be at least 1", o.AgentConcurrency))
	}
	errs = append(errs, checkAddress("--metrics-bind-address", o.metricsAddress())...)
	errs = append(errs, checkAddress("--health-probe-bind-address", o.healthAddress())...)
	return errors.Join(errs...)
}

// hasPages says whether people find pages of the dashboard at the external URL.
func (o *Options) hasPages() bool { return o.Dashboard && o.apiAddress() != "0" }

// pageURL is the URL of the dashboard as people reach it, without a / at the end; empty if there is none, or it is not known.
func (o *Options) pageURL() string {
	if !o.hasPages() {
		return ""
	}
	return strings.TrimSuffix(o.ExternalURL, "/")
}

// externalURL reads --external-url; nil if it is not set. What has a password in it would be sent to everybody who is told
// something.
func (o *Options) externalURL() (*url.URL, error) {
	if o.ExternalURL == "" {
		return nil, nil //nolint:nilnil // it is not known
	}
	u, err := url.Parse(o.ExternalURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("--external-url must be such as https://ops.example.com/khook, without a user, a query or a fragment")
	}
	if clean := path.Clean("/" + u.EscapedPath()); u.Path != "" && strings.TrimSuffix(u.EscapedPath(), "/") != strings.TrimSuffix(clean, "/") || strings.ContainsAny(u.EscapedPath(), ";,%") {
		return nil, errors.New("--external-url has a path that no cookie can be for: write it without //, . and .., and of letters, digits and - . _ ~")
	}
	return u, nil
}

func checkNamespaces(flag string, names []string) (errs []error) {
	for _, ns := range names {
		if why := validation.IsDNS1123Label(ns); len(why) > 0 {
			errs = append(errs, fmt.Errorf("%s has %q, which is no name of a namespace", flag, ns))
		}
	}
	return errs
}

func checkAddress(flag, address string) []error {
	if _, _, err := net.SplitHostPort(address); address != "0" && err != nil {
		return []error{fmt.Errorf("%s is %q: write host:port, such as :8080, or 0 to turn it off", flag, address)}
	}
	return nil
}

// The defaults of the addresses: METRICS_PORT and HEALTH_PORT count where these are not changed.
const (
	defaultMetricsAddress = ":8080"
	defaultHealthAddress  = ":8081"
)

func (o *Options) metricsAddress() string {
	return withPort(o.MetricsBindAddress, defaultMetricsAddress, o.MetricsPort)
}

func (o *Options) healthAddress() string {
	return withPort(o.HealthProbeBindAddress, defaultHealthAddress, o.HealthPort)
}

func withPort(addr, unset string, port int) string {
	if port > 0 && addr == unset {
		return fmt.Sprintf(":%d", port)
	}
	return addr
}

// defaultAPIAddress is where the HTTP API listens if nothing else is said.
const defaultAPIAddress = ":8082"

// apiAddress is where the HTTP API listens. Without authentication that is the loopback address.
func (o *Options) apiAddress() string {
	if o.APIAuth == "none" && !o.APIOpenToAll && o.APIBindAddress == defaultAPIAddress {
		return "127.0.0.1" + defaultAPIAddress
	}
	return o.APIBindAddress
}

// checkAPI checks the settings of the HTTP API.
func (o *Options) checkAPI() []error {
	var errs []error
	address := o.apiAddress()
	if address == "0" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("--api-bind-address is %q: write host:port, such as :8082, or 0 to turn it off", address))
	case o.APIAuth == "none" && !o.APIOpenToAll && !conns.IsLoopback(host):
		errs = append(errs, fmt.Errorf("--api-bind-address is %q and --api-auth is none: everybody who reaches that address could read everything. "+
			"Listen on 127.0.0.1, or add --api-open-to-everybody-on-the-network", address))
	}
	errs = append(errs, o.checkCallers()...)
	if o.APIOpenToAll && o.APIAuth != "none" {
		errs = append(errs, errors.New("--api-open-to-everybody-on-the-network is of use with --api-auth=none only"))
	}
	if o.APIRateLimit <= 0 || o.APIRateBurst < 1 || o.APIMaxClientStreams < 1 || o.APIMaxStreams < 0 || o.APIMaxConnections < 0 {
		errs = append(errs, errors.New("--api-rate-limit must be above 0; --api-rate-burst and --api-max-streams-per-client at least 1; --api-max-streams and --api-max-connections at least 1, or 0 for as many as the memory has room for"))
	}
	return errs
}

// leaseNamespace is where the leader election's Lease is.
func (o *Options) leaseNamespace() string {
	if o.LeaderElectionNamespace != "" {
		return o.LeaderElectionNamespace
	}
	own, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if ns := strings.TrimSpace(string(own)); err == nil && ns != "" {
		return ns
	}
	return "default"
}

// checkDatabase checks where the history is.
func (o *Options) checkDatabase() (errs []error) {
	if postgres.IsURL(o.Database) && o.DatabaseFile == "" {
		if err := postgres.CheckURL(o.Database); err != nil {
			errs = append(errs, fmt.Errorf("--database: %w", err))
		}
	}
	if o.ServeClusters && o.DatabaseFile == "" && !postgres.IsURL(o.Database) {
		errs = append(errs, fmt.Errorf("--serve-clusters needs a PostgreSQL database (--database=postgres://...), in which several clusters have their histories: %q is a file, which has that of one", o.Database))
	}
	if o.DatabaseMaxConnections < postgres.MinConnections {
		errs = append(errs, fmt.Errorf("--database-max-connections is %d: it must be at least %d", o.DatabaseMaxConnections, postgres.MinConnections))
	}
	return errs
}

// databaseShown is where the history is, without what may be secret.
func (o *Options) databaseShown() string {
	switch {
	case o.DatabaseFile != "":
		return "the URL in " + o.DatabaseFile
	case postgres.IsURL(o.Database):
		return redact.URL(o.Database)
	}
	return o.Database
}

// folder is where khook keeps its own files: beside the history, if that is a file.
func (o *Options) folder() string {
	if postgres.IsURL(o.Database) {
		return "."
	}
	return filepath.Dir(o.Database)
}

// prepareDatabase makes the folder of the history.
func (o *Options) prepareDatabase() error {
	if o.DatabaseFile != "" || postgres.IsURL(o.Database) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Database), 0o750); err != nil {
		return fmt.Errorf("make the folder of --database: %w", err)
	}
	return nil
}

// policy is what the operator allows Hooks to do.
func (o *Options) policy() hook.Policy {
	return hook.Policy{AgentNamespaces: o.AgentNamespaces, DedupWindow: o.DedupWindow, PlainValues: o.AllowPlainValues}
}
