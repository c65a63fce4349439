package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kagent-dev/khook/internal/app"
)

// yamlFlags reads flags from a YAML file: their names without the dashes, and their values.
func yamlFlags(r io.Reader) (kong.Resolver, error) {
	source := "--config"
	if f, ok := r.(interface{ Name() string }); ok {
		source += " " + f.Name()
	}
	text, err := io.ReadAll(io.LimitReader(r, maxConfigFile))
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := sigsyaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	named := make(map[string]any, len(values))
	for name, v := range values {
		named[strings.ReplaceAll(name, "-", "_")] = v // as kong looks them up
	}
	asJSON, err := json.Marshal(named)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	resolver, err := kong.JSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return fileFlags{resolver, source, slices.Sorted(maps.Keys(values))}, nil
}

// fileFlags are the flags of a file, all of which must exist.
type fileFlags struct {
	kong.Resolver
	source string // for errors
	names  []string
}

// Validate refuses names that no flag has.
func (f fileFlags) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, command := range app.Children {
		for _, flag := range command.Flags {
			known[flag.Name], known[strings.ReplaceAll(flag.Name, "-", "_")] = true, true
		}
	}
	for _, name := range f.names {
		if !known[name] {
			return fmt.Errorf("%s: there is no flag %q", f.source, name)
		}
	}
	return nil
}

// maxConfigFile bounds the file of --config, in bytes.
const maxConfigFile = 1 << 20

// controllerFlags are the flags and environment variables that become the options of the process. Its fields are
// those of app.Options in the same order, which the compiler holds: one is converted into the other.
type controllerFlags struct {
	Kubeconfig string   `help:"Kubeconfig of the cluster; the KUBECONFIG variable, the in-cluster account or ~/.kube/config if empty." group:"Cluster" placeholder:"FILE"`
	Cluster    string   `help:"Name of the cluster, recorded with its history and told to agents." env:"KHOOK_CLUSTER" group:"Cluster"`
	ClusterUID string   `name:"cluster-uid" help:"What the cluster is known by in its history, whatever its name is; the UID of its namespace kube-system if empty." env:"KHOOK_CLUSTER_UID" group:"Cluster" placeholder:"UID"`
	Namespaces []string `help:"Watch these namespaces only; all if empty." env:"KHOOK_NAMESPACES" group:"Cluster" placeholder:"NS,..."`

	PendingAfter  time.Duration `help:"How long a Pod may be Pending before that is an event." default:"1m" group:"Detection"`
	Stabilization time.Duration `help:"How long a Pod must be healthy before its incidents end as recovered." default:"2m" group:"Detection"`
	QuietAfter    time.Duration `help:"How long nothing new must be seen before an incident ends as quiet." default:"10m" group:"Detection"`
	CatchUp       time.Duration `help:"How far back failures that happened before the start are taken up." default:"1h" group:"Detection"`

	KagentURL        string            `name:"kagent-url" help:"Base URL of kagent." default:"http://kagent-controller.kagent.svc.cluster.local:8083" env:"KAGENT_API_URL,KAGENT_API_BASE_URL,KAGENT_BASE_URL" group:"Agents" placeholder:"URL"`
	KagentUserID     string            `name:"kagent-user-id" help:"Who khook is for kagent (X-User-Id)." default:"admin@kagent.dev" env:"KAGENT_USER_ID" group:"Agents" placeholder:"ID"`
	KagentTimeout    time.Duration     `name:"kagent-timeout" help:"Time limit of one HTTP request to kagent; an agent's task may take longer, see the Hook's timeout." default:"30s" env:"KAGENT_API_TIMEOUT" group:"Agents"`
	KagentTokenFile  string            `name:"kagent-token-file" help:"File with a bearer token for kagent, read again when it changes." env:"KAGENT_TOKEN_FILE" group:"Agents" placeholder:"FILE"`
	KagentHeaders    map[string]string `name:"kagent-header" help:"Further header of each request to kagent; may be repeated." group:"Agents" placeholder:"NAME=VALUE"`
	KagentDialect    string            `name:"kagent-dialect" help:"Dialect of kagent; found out per agent if empty." group:"Agents"`
	AgentNamespaces  []string          `help:"Namespaces whose agents every Hook may call, beside those of its own namespace; * for all." default:"kagent" env:"KHOOK_AGENT_NAMESPACES" group:"Agents" placeholder:"NS,..."`
	AllowPlainValues bool              `help:"Let Hooks ask (plainValues) for prompts in which what the cluster says is not marked as data, so that an agent may take a message that somebody wrote for an instruction." env:"KHOOK_ALLOW_PLAIN_VALUES" group:"Agents"`
	AgentConcurrency int               `help:"Tasks of one agent at the same time." default:"5" group:"Agents"`
	AgentCheckEvery  time.Duration     `help:"How often the agents that Hooks name are looked for." default:"1m" group:"Agents"`
	VerifyWindow     time.Duration     `help:"How long the cluster is watched for recovery after an agent finished." default:"10m" group:"Agents"`

	DedupWindow time.Duration `help:"For how long a call keeps further events of its group from calling again, where a Hook does not say (dedupWindow)." default:"10m" env:"KHOOK_DEDUP_WINDOW" group:"Agents"`

	NotifiersFile string `name:"notifiers-file" help:"File with the notifiers, by which people are told of what they must know; nobody is told if empty. See docs/notifiers.md." env:"KHOOK_NOTIFIERS_FILE" placeholder:"FILE" group:"People"`
	ExternalURL   string `name:"external-url" help:"The URL by which people reach khook, such as https://ops.example.com/khook; messages to people then have links." env:"KHOOK_EXTERNAL_URL" placeholder:"BASE-URL" group:"People"`

	MaxCallsPerHour int `name:"max-calls-per-hour" help:"How many calls all Hooks together may make within an hour; 0 for no limit. What is held back is told to the agent with the next call." default:"0" env:"KHOOK_MAX_CALLS_PER_HOUR" group:"Agents"`

	Database               string        `help:"SQLite file of the history, or the URL of a PostgreSQL database, such as postgres://khook:PASSWORD@db.example.com/khook?sslmode=verify-full." default:"khook.db" env:"KHOOK_DATABASE" group:"History" placeholder:"FILE|URL"`
	DatabaseFile           string        `name:"database-file" help:"File with the URL of the PostgreSQL database, read again at each new connection, so that a password can be changed; it wins over --database." env:"KHOOK_DATABASE_FILE" group:"History" placeholder:"FILE"`
	DatabaseMaxConnections int           `name:"database-max-connections" help:"Connections to the PostgreSQL database at the same time." default:"10" env:"KHOOK_DATABASE_MAX_CONNECTIONS" group:"History"`
	Retention              time.Duration `help:"How long history is kept." default:"168h" env:"KHOOK_RETENTION" group:"History"`

	APIBindAddress      string        `name:"api-bind-address" help:"Address of the HTTP API; 0 turns it off." default:":8082" env:"KHOOK_API_BIND_ADDRESS" group:"HTTP API"`
	ServeClusters       bool          `help:"Serve the other clusters of the PostgreSQL database too, for reading: each to those who may list the virtual resource clusters.khook.kagent.dev with the cluster's name." env:"KHOOK_SERVE_CLUSTERS" group:"HTTP API"`
	APIAuth             string        `name:"api-auth" help:"Who may read over the HTTP API: whom Kubernetes lets, asked by khook (kubernetes) or in the caller's own name, which needs no rights of khook's (caller); or everybody (none), then on the loopback address only." default:"kubernetes" enum:"kubernetes,caller,none" env:"KHOOK_API_AUTH" group:"HTTP API"`
	APIAudiences        []string      `name:"api-audiences" help:"Audiences for one of which a token must have been made. If empty, the API server's own and khook. With khook alone, a token for khook opens nothing else; but the tokens of exec plugins and of OpenID Connect, which are for the API server, are refused then." env:"KHOOK_API_AUDIENCES" group:"HTTP API" placeholder:"AUD,..."`
	AllowedHosts        []string      `help:"Further names by which khook may be called with --api-auth=none, beside localhost, IP addresses and the names of its Service." env:"KHOOK_ALLOWED_HOSTS" group:"HTTP API" placeholder:"HOST,..."`
	ServiceName         string        `help:"Name of khook's Service." default:"khook" env:"KHOOK_SERVICE_NAME" group:"HTTP API" placeholder:"NAME"`
	TrustedProxies      []string      `help:"Networks of the proxies whose X-Forwarded-For (or else Forwarded) tells for whom they ask. All others' is ignored." env:"KHOOK_TRUSTED_PROXIES" group:"HTTP API" placeholder:"CIDR,..."`
	APIOpenToAll        bool          `name:"api-open-to-everybody-on-the-network" help:"With --api-auth=none: listen on any address all the same, so that whoever reaches it reads everything." group:"HTTP API"`
	APITLSCertFile      string        `name:"api-tls-cert-file" help:"Certificate of the HTTP API in PEM, read again when it changes; no TLS if empty." env:"KHOOK_API_TLS_CERT_FILE" group:"HTTP API" placeholder:"FILE"`
	APITLSKeyFile       string        `name:"api-tls-key-file" help:"Its private key in PEM." env:"KHOOK_API_TLS_KEY_FILE" group:"HTTP API" placeholder:"FILE"`
	APITLSSelfSigned    bool          `name:"api-tls-self-signed" help:"Serve TLS with a certificate of khook's own authority, whose certificate is kept beside the history (tls/ca.crt)." env:"KHOOK_API_TLS_SELF_SIGNED" group:"HTTP API"`
	APIRateLimit        float64       `name:"api-rate-limit" help:"Requests a second of one client." default:"50" group:"HTTP API"`
	APIRateBurst        int           `name:"api-rate-burst" help:"Requests of one client at once." default:"100" group:"HTTP API"`
	APIRequestTimeout   time.Duration `name:"api-request-timeout" help:"How long an answer may take." default:"15s" group:"HTTP API"`
	APIMaxStreams       int           `name:"api-max-streams" help:"Live streams at the same time; 0 for as many as the memory has room for, at most 10000." default:"0" group:"HTTP API"`
	APIMaxClientStreams int           `name:"api-max-streams-per-client" help:"Live streams of one client at the same time." default:"100" group:"HTTP API"`
	APIMaxConnections   int           `name:"api-max-connections" help:"Connections to the HTTP API at the same time; 0 for as many as the memory has room for, at most 20000." default:"0" group:"HTTP API"`
	APIHTTP2Cleartext   bool          `name:"api-http2-cleartext" help:"Take HTTP/2 also without TLS, from proxies that speak it; HTTP/2 with TLS is always taken." group:"HTTP API"`
	Dashboard           bool          `help:"Serve the dashboard at / of the HTTP API's address." default:"true" negatable:"" group:"HTTP API"`
	APIPprof            bool          `name:"api-pprof" help:"Serve Go's profiles at /debug/pprof to those who may get that path." group:"HTTP API"`

	MetricsBindAddress      string        `help:"Address of the Prometheus metrics; 0 turns them off." default:":8080" group:"Serving"`
	HealthProbeBindAddress  string        `help:"Address of /healthz and /readyz; 0 turns them off." default:":8081" group:"Serving"`
	MetricsSecure           bool          `help:"Serve the metrics with TLS, to those only who may get the path /metrics; who they are is found out as --api-auth says. Without it, everybody gets them, without the names of namespaces." env:"KHOOK_METRICS_SECURE" group:"Serving"`
	MetricsTLSCertFile      string        `name:"metrics-tls-cert-file" help:"Certificate of the metrics port in PEM, read again when it changes; one of khook's own authority if empty." env:"KHOOK_METRICS_TLS_CERT_FILE" group:"Serving" placeholder:"FILE"`
	MetricsTLSKeyFile       string        `name:"metrics-tls-key-file" help:"Its private key in PEM." env:"KHOOK_METRICS_TLS_KEY_FILE" group:"Serving" placeholder:"FILE"`
	TLSNames                []string      `name:"tls-names" help:"Names and addresses in the certificates of khook's own authority, beside those of the loopback address." env:"KHOOK_TLS_NAMES" group:"Serving" placeholder:"NAME,..."`
	TLSCAConfigMap          string        `name:"tls-ca-configmap" help:"ConfigMap in khook's namespace into which khook writes the certificate of its own authority (ca.crt). It must exist." env:"KHOOK_TLS_CA_CONFIGMAP" group:"Serving" placeholder:"NAME"`
	TLSAuthoritySecret      string        `name:"tls-authority-secret" help:"Secret in khook's namespace in which khook keeps its own authority, so that several replicas have the same one; beside the history if empty. It must exist." env:"KHOOK_TLS_AUTHORITY_SECRET" group:"Serving" placeholder:"NAME"`
	MetricsPort             int           `help:"Port of the metrics on all addresses, as the original khook has it." env:"METRICS_PORT" hidden:""`
	HealthPort              int           `help:"Port of the health probes on all addresses, as the original khook has it." env:"HEALTH_PORT" hidden:""`
	LeaderElect             bool          `help:"Let one of several replicas watch and call; the others stand by." default:"true" negatable:"" env:"LEADER_ELECTION" group:"Serving"`
	LeaderElectionID        string        `name:"leader-election-id" help:"Name of the leader election's Lease." default:"khook.kagent.dev" group:"Serving" placeholder:"NAME"`
	LeaderElectionNamespace string        `help:"Namespace of the leader election's Lease; khook's own if empty." env:"POD_NAMESPACE" group:"Serving" placeholder:"NS"`
	ShutdownDelay           time.Duration `help:"How long khook goes on as before when it is told to stop, so that others learn to ask another replica." default:"0s" group:"Serving"`
	ShutdownTimeout         time.Duration `help:"How long steps under way may take at a stop." default:"30s" group:"Serving"`

	LogLevel  string `help:"Level of the log: debug, info, warn or error." default:"info" enum:"debug,info,warn,warning,error,DEBUG,INFO,WARN,WARNING,ERROR" env:"LOG_LEVEL" group:"Log"`
	LogFormat string `help:"Format of the log: json or text." default:"json" enum:"json,text" env:"LOG_FORMAT" group:"Log"`
}

// controllerCmd is khook controller.
type controllerCmd struct {
	controllerFlags

	Config kong.ConfigFlag `help:"YAML file with any of these flags, such as retention: 30d; flags and variables win over it." group:"Log" placeholder:"FILE"`
	zapFlags

	faults app.Faults // of tests; no flag sets them
}

// zapFlags are the log flags of the original khook; they are taken, and those that have a meaning
// here have it.
type zapFlags struct {
	ZapLogLevel        string `hidden:""`
	ZapEncoder         string `hidden:""`
	ZapDevel           bool   `hidden:""`
	ZapStacktraceLevel string `hidden:""`
	ZapTimeEncoding    string `hidden:""`
}

// options are those of the process.
func (c *controllerCmd) options() app.Options {
	o := app.Options(c.controllerFlags)
	if c.ZapDevel {
		o.LogLevel, o.LogFormat = "debug", "text"
	}
	if c.ZapEncoder == "console" {
		o.LogFormat = "text"
	}
	if c.ZapLogLevel != "" {
		o.LogLevel = c.ZapLogLevel
	}
	return o
}

// Run runs the controller until ctx ends.
func (c *controllerCmd) Run(ctx context.Context, env Env) error {
	return app.Run(ctx, app.Config{Options: c.options(), Version: env.Version, Log: env.Err, Faults: c.faults})
}

// Validate checks what kong can't.
func (c *controllerCmd) Validate() error {
	o := c.options()
	return o.Validate()
}

// Help is shown below the flags.
func (controllerCmd) Help() string {
	return `The controller watches Pods and Events, records what fails, and calls the agents that the Hooks in the failing Pod's namespace name.

/healthz says that the process runs. /readyz says that it does its work: the history can be written, and on the leader that the cluster is watched. /readyz/history and /readyz/watch tell which of the two is wrong, and the log what.

The environment variables of the original khook are understood: KAGENT_API_URL, KAGENT_API_BASE_URL, KAGENT_BASE_URL, KAGENT_USER_ID, KAGENT_API_TIMEOUT, LOG_LEVEL, METRICS_PORT, HEALTH_PORT and LEADER_ELECTION. A flag wins over its variable.`
}
