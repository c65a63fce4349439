package chart

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// example sets one of the chart's values, and says what of it is to be seen in what is rendered.
type example struct {
	name  string // of the value
	value string // as helm takes it with --set-json
	seen  string // in the rendered objects
	with  string // further values that it needs
	alone bool   // it does not go together with others
}

// examples has one of each value.
var examples = []example{
	{name: "replicaCount", value: `replicaCount=0`, seen: "replicas: 0"},
	{name: "image.registry", value: `image.registry="registry.example.com"`, seen: `image: "registry.example.com/`},
	{name: "image.repository", value: `image.repository="sre/khook"`, seen: `sre/khook:`, alone: true},
	{name: "image.tag", value: `image.tag="v9.9.9"`, seen: `:v9.9.9"`, alone: true},
	{name: "image.digest", value: `image.digest="sha256:` + strings.Repeat("ab", 32) + `"`, seen: "@sha256:abab"},
	{name: "image.pullPolicy", value: `image.pullPolicy="Always"`, seen: "imagePullPolicy: Always"},
	{name: "imagePullSecrets", value: `imagePullSecrets=[{"name":"pull-me"}]`, seen: "- name: pull-me"},
	{name: "nameOverride", value: `nameOverride="watcher"`, seen: "app.kubernetes.io/name: watcher", alone: true},
	{name: "fullnameOverride", value: `fullnameOverride="watcher"`, seen: "name: watcher-config", alone: true},
	{name: "namespace.create", value: `namespace.create=true`, seen: "kind: Namespace"},
	{name: "namespace.name", value: `namespace.name="shop"`, seen: "namespace: shop", alone: true},
	{name: "crds.install", value: `crds.install=false`, seen: "!kind: CustomResourceDefinition", alone: true},
	{name: "crds.keep", value: `crds.keep=false`, with: `persistence.keep=false`, seen: "!helm.sh/resource-policy"},
	{name: "kagent.apiUrl", value: `kagent.apiUrl="https://kagent.example.com"`, seen: "kagent-url: https://kagent.example.com"},
	{name: "kagent.userId", value: `kagent.userId="sre@example.com"`, seen: "kagent-user-id: sre@example.com"},
	{name: "kagent.timeout", value: `kagent.timeout="45s"`, seen: "kagent-timeout: 45s"},
	{name: "kagent.dialect", value: `kagent.dialect="kagent-1.0"`, seen: "kagent-dialect: kagent-1.0"},
	{name: "kagent.headers", value: `kagent.headers={"X-Team":"sre"}`, seen: "X-Team: sre"},
	{name: "kagent.serviceAccountToken.enabled", value: `kagent.serviceAccountToken.enabled=true`, seen: "audience: kagent"},
	{name: "kagent.serviceAccountToken.audience", value: `kagent.serviceAccountToken.audience="them"`, with: `kagent.serviceAccountToken.enabled=true`, seen: "audience: them"},
	{name: "kagent.serviceAccountToken.expirationSeconds", value: `kagent.serviceAccountToken.expirationSeconds=7200`, with: `kagent.serviceAccountToken.enabled=true`, seen: "expirationSeconds: 7200"},
	{name: "kagent.tokenSecret.name", value: `kagent.tokenSecret.name="kagent-token-1"`, seen: "secretName: kagent-token-1", alone: true},
	{name: "kagent.tokenSecret.key", value: `kagent.tokenSecret.key="bearer"`, with: `kagent.tokenSecret.name="x"`, seen: "key: bearer", alone: true},
	{name: "kagent.caSecret.name", value: `kagent.caSecret.name="our-ca"`, seen: "secretName: our-ca"},
	{name: "kagent.caSecret.key", value: `kagent.caSecret.key="bundle.pem"`, with: `kagent.caSecret.name="x"`, seen: "key: bundle.pem"},
	{name: "agentNamespaces", value: `agentNamespaces=["agents"]`, seen: `expression: '["agents"]'`},
	{name: "watchNamespaces", value: `watchNamespaces=["shop"]`, seen: "kind: Role\nmetadata:\n  name: khook\n  namespace: shop", alone: true},
	{name: "cluster", value: `cluster="prod-1"`, seen: "cluster: prod-1"},
	{name: "maxCallsPerHour", value: `maxCallsPerHour=30`, seen: "max-calls-per-hour: 30"},
	{name: "retention", value: `retention="30d"`, seen: "retention: 30d"},
	{name: "config", value: `config={"pending-after":"2m"}`, seen: "pending-after: 2m"},
	{name: "controller.logLevel", value: `controller.logLevel="debug"`, seen: "log-level: debug"},
	{name: "controller.logFormat", value: `controller.logFormat="text"`, seen: "log-format: text"},
	{name: "controller.leaderElection.enabled", value: `controller.leaderElection.enabled=false`, seen: "leader-elect: false", alone: true},
	{name: "controller.leaderElection.resourceName", value: `controller.leaderElection.resourceName="khook-2"`, seen: "resourceNames: [khook-2]"},
	{name: "controller.deduplication.timeoutMinutes", value: `controller.deduplication.timeoutMinutes=25`, seen: "dedup-window: 25m"},
	{name: "api.enabled", value: `api.enabled=false`, seen: "!tokenreviews", alone: true},
	{name: "api.auth", value: `api.auth="caller"`, seen: "!tokenreviews"},
	{name: "api.audiences", value: `api.audiences=["khook","https://kubernetes.default.svc"]`, seen: "api-audiences:\n    - khook\n    - https://kubernetes.default.svc", alone: true},
	{name: "api.allowedHosts", value: `api.allowedHosts=["khook.example.com"]`, seen: "allowed-hosts:\n    - khook.example.com"},
	{name: "api.trustedProxies", value: `api.trustedProxies=["10.0.0.0/8","fd00::1"]`, seen: "trusted-proxies:\n    - 10.0.0.0/8\n    - fd00::1"},
	{name: "api.serveClusters", value: `api.serveClusters=true`, with: `database.existingSecret="own-database"`, seen: "serve-clusters: true", alone: true},
	{name: "api.clusterRoles", value: `api.clusterRoles=["east-1"]`, seen: "name: khook-cluster-east-1-reader"},
	{name: "allowPlainValues", value: `allowPlainValues=true`, seen: "allow-plain-values: true"},
	{name: "api.tls.secretName", value: `api.tls.secretName="api-tls"`, seen: "api-tls-cert-file: /var/run/secrets/khook/tls/tls.crt"},
	{name: "api.tls.mode", value: `api.tls.mode="self-signed"`, seen: "api-tls-self-signed: true", alone: true},
	{name: "api.tls.issuerRef", value: `api.tls.issuerRef={"name":"our-issuer","kind":"ClusterIssuer"}`, with: `api.tls.mode="cert-manager"`, seen: "name: our-issuer"},
	{name: "database.url", value: `database.url="postgres://khook:secret@db.example.com/khook"`, seen: `url: "postgres://khook:secret@db.example.com/khook"`, alone: true},
	{name: "database.existingSecret", value: `database.existingSecret="own-database"`, seen: "!kind: PersistentVolumeClaim", alone: true},
	{name: "database.existingSecretKey", value: `database.existingSecretKey="dsn"`, with: `database.existingSecret="own-database"`, seen: "key: dsn", alone: true},
	{name: "database.port", value: `database.port=6432`, with: `database.existingSecret="own-database",networkPolicy.restrictEgress=true`, seen: "port: 6432", alone: true},
	{name: "database.maxConnections", value: `database.maxConnections=33`, with: `database.existingSecret="own-database"`, seen: "database-max-connections: 33", alone: true},
	{name: "persistence.enabled", value: `persistence.enabled=false`, seen: "!kind: PersistentVolumeClaim", alone: true},
	{name: "persistence.size", value: `persistence.size="20Gi"`, seen: "storage: 20Gi"},
	{name: "persistence.storageClass", value: `persistence.storageClass="fast"`, seen: "storageClassName: fast"},
	{name: "persistence.accessModes", value: `persistence.accessModes=["ReadWriteOncePod"]`, seen: "- ReadWriteOncePod"},
	{name: "persistence.existingClaim", value: `persistence.existingClaim="old-claim"`, seen: "claimName: old-claim", alone: true},
	{name: "persistence.keep", value: `persistence.keep=false`, with: `crds.keep=false`, seen: "!helm.sh/resource-policy", alone: true},
	{name: "persistence.annotations", value: `persistence.annotations={"backup":"nightly"}`, seen: "backup: nightly"},
	{name: "service.type", value: `service.type="NodePort"`, seen: "type: NodePort"},
	{name: "service.annotations", value: `service.annotations={"a.example.com/b":"c"}`, seen: "a.example.com/b: c"},
	{name: "service.labels", value: `service.labels={"exposed":"inside"}`, seen: "exposed: inside"},
	{name: "serviceAccount.create", value: `serviceAccount.create=false`, seen: "serviceAccountName: default", alone: true},
	{name: "serviceAccount.annotations", value: `serviceAccount.annotations={"iam":"role"}`, seen: "iam: role"},
	{name: "serviceAccount.name", value: `serviceAccount.name="watcher-account"`, seen: "serviceAccountName: watcher-account"},
	{name: "rbac.create", value: `rbac.create=false`, seen: "!kind: ClusterRoleBinding", alone: true},
	{name: "rbac.viewer.create", value: `rbac.viewer.create=false`, seen: "!khook-viewer", alone: true},
	{name: "rbac.viewer.aggregate", value: `rbac.viewer.aggregate=false`, seen: "!aggregate-to-view"},
	{name: "rbac.reader.create", value: `rbac.reader.create=false`, seen: "!khook-reader", alone: true},
	{name: "rbac.responder.create", value: `rbac.responder.create=false`, seen: "!khook-responder", alone: true},
	{name: "rbac.pauser.create", value: `rbac.pauser.create=false`, seen: "!khook-pauser", alone: true},
	{name: "rbac.connector.create", value: `rbac.connector.create=false`, seen: "!khook-connector", alone: true},
	{name: "rbac.approver.create", value: `rbac.approver.create=false`, seen: "!khook-approver", alone: true},
	{name: "rbac.metricsReader.create", value: `rbac.metricsReader.create=false`, seen: "!khook-metrics-reader", alone: true},
	{name: "rbac.editor.create", value: `rbac.editor.create=false`, seen: "!khook-editor", alone: true},
	{name: "rbac.editor.aggregate", value: `rbac.editor.aggregate=true`, seen: "aggregate-to-edit"},
	{name: "admissionPolicy.enabled", value: `admissionPolicy.enabled=false`, seen: "!kind: ValidatingAdmissionPolicy", alone: true},
	{name: "podSecurityContext", value: `podSecurityContext.supplementalGroups=[4711]`, seen: "- 4711"},
	{name: "securityContext", value: `securityContext.procMount="Default"`, seen: "procMount: Default"},
	{name: "resources", value: `resources.limits.cpu="2"`, seen: `cpu: "2"`},
	{name: "healthCheck.livenessProbe", value: `healthCheck.livenessProbe.periodSeconds=21`, seen: "periodSeconds: 21"},
	{name: "healthCheck.readinessProbe", value: `healthCheck.readinessProbe.periodSeconds=11`, seen: "periodSeconds: 11"},
	{name: "healthCheck.startupProbe", value: `healthCheck.startupProbe.failureThreshold=33`, seen: "failureThreshold: 33"},
	{name: "metrics.enabled", value: `metrics.enabled=false`, seen: `metrics-bind-address: "0"`, alone: true},
	{name: "metrics.port", value: `metrics.port=9090`, seen: "containerPort: 9090"},
	{name: "metrics.secure", value: `metrics.secure=true`, seen: "metrics-secure: true"},
	{name: "metrics.serviceMonitor.tokenSecret.name", value: `metrics.serviceMonitor.tokenSecret.name="scrape-token"`, with: `metrics={"secure":true,"serviceMonitor":{"enabled":true}}`, seen: "name: scrape-token"},
	{name: "metrics.serviceMonitor.tokenSecret.key", value: `metrics.serviceMonitor.tokenSecret.key="bearer"`, with: `metrics={"secure":true,"serviceMonitor":{"enabled":true,"tokenSecret":{"name":"x"}}}`, seen: "key: bearer"},
	{name: "metrics.serviceMonitor.tlsConfig", value: `metrics.serviceMonitor.tlsConfig={"serverName":"khook.example.com"}`, with: `metrics={"secure":true,"serviceMonitor":{"enabled":true}}`, seen: "serverName: khook.example.com"},
	{name: "metrics.serviceMonitor.enabled", value: `metrics.serviceMonitor.enabled=true`, seen: "kind: ServiceMonitor"},
	{name: "metrics.serviceMonitor.namespace", value: `metrics.serviceMonitor.namespace="monitoring"`, with: `metrics.serviceMonitor.enabled=true`, seen: "namespace: monitoring"},
	{name: "metrics.serviceMonitor.labels", value: `metrics.serviceMonitor.labels={"release":"prom"}`, with: `metrics.serviceMonitor.enabled=true`, seen: "release: prom"},
	{name: "metrics.serviceMonitor.annotations", value: `metrics.serviceMonitor.annotations={"owner":"sre"}`, with: `metrics.serviceMonitor.enabled=true`, seen: "owner: sre"},
	{name: "metrics.serviceMonitor.interval", value: `metrics.serviceMonitor.interval="17s"`, with: `metrics.serviceMonitor.enabled=true`, seen: "interval: 17s"},
	{name: "metrics.serviceMonitor.scrapeTimeout", value: `metrics.serviceMonitor.scrapeTimeout="9s"`, with: `metrics.serviceMonitor.enabled=true`, seen: "scrapeTimeout: 9s"},
	{name: "metrics.prometheusRule.enabled", value: `metrics.prometheusRule.enabled=true`, seen: "alert: KhookWatchDown"},
	{name: "metrics.prometheusRule.namespace", value: `metrics.prometheusRule.namespace="monitoring"`, with: `metrics.prometheusRule.enabled=true`, seen: "namespace: monitoring"},
	{name: "metrics.prometheusRule.labels", value: `metrics.prometheusRule.labels={"role":"alerts"}`, with: `metrics.prometheusRule.enabled=true`, seen: "role: alerts"},
	{name: "metrics.prometheusRule.annotations", value: `metrics.prometheusRule.annotations={"rules":"ours"}`, with: `metrics.prometheusRule.enabled=true`, seen: "rules: ours"},
	{name: "metrics.prometheusRule.disabled", value: `metrics.prometheusRule.disabled=["KhookDown"]`, with: `metrics.prometheusRule.enabled=true`, seen: "!alert: KhookDown\n"},
	{name: "metrics.dashboard.enabled", value: `metrics.dashboard.enabled=true`, seen: "name: khook-dashboard"},
	{name: "metrics.dashboard.namespace", value: `metrics.dashboard.namespace="monitoring"`, with: `metrics.dashboard.enabled=true`, seen: "namespace: monitoring"},
	{name: "metrics.dashboard.labels", value: `metrics.dashboard.labels={"board":"yes"}`, with: `metrics.dashboard.enabled=true`, seen: `board: "yes"`},
	{name: "metrics.dashboard.annotations", value: `metrics.dashboard.annotations={"grafana_folder":"K8s"}`, with: `metrics.dashboard.enabled=true`, seen: "grafana_folder: K8s"},
	{name: "networkPolicy.enabled", value: `networkPolicy.enabled=false`, seen: "!kind: NetworkPolicy", alone: true},
	{name: "networkPolicy.from", value: `networkPolicy.from=[{"podSelector":{"matchLabels":{"may":"ask"}}}]`, seen: "may: ask"},
	{name: "networkPolicy.metricsFrom", value: `networkPolicy.metricsFrom=[{"podSelector":{"matchLabels":{"may":"scrape"}}}]`, seen: "may: scrape"},
	{name: "networkPolicy.restrictEgress", value: `networkPolicy.restrictEgress=true`, seen: "policyTypes: [Ingress, Egress]"},
	{name: "networkPolicy.apiServerPorts", value: `networkPolicy.apiServerPorts=[16443]`, with: `networkPolicy.restrictEgress=true`, seen: "port: 16443"},
	{name: "networkPolicy.kagent", value: `networkPolicy.kagent=[{"ipBlock":{"cidr":"10.1.2.3/32"}}]`, seen: "cidr: 10.1.2.3/32"},
	{name: "networkPolicy.egress", value: `networkPolicy.egress=[{"ports":[{"port":4318}]}]`, seen: "port: 4318"},
	{name: "podDisruptionBudget.enabled", value: `podDisruptionBudget.enabled=false`, seen: "!kind: PodDisruptionBudget", alone: true},
	{name: "podDisruptionBudget.maxUnavailable", value: `podDisruptionBudget.maxUnavailable="50%"`, seen: "maxUnavailable: 50%"},
	{name: "priorityClassName", value: `priorityClassName="system-cluster-critical"`, seen: "priorityClassName: system-cluster-critical"},
	{name: "nodeSelector", value: `nodeSelector={"pool":"infra"}`, seen: "pool: infra"},
	{name: "tolerations", value: `tolerations=[{"key":"infra","operator":"Exists"}]`, seen: "key: infra"},
	{name: "affinity", value: `affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"Exists"}]}]}}}`, seen: "key: zone"},
	{name: "topologySpreadConstraints", value: `topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"kubernetes.io/hostname","whenUnsatisfiable":"DoNotSchedule"}]`, seen: "whenUnsatisfiable: DoNotSchedule"},
	{name: "podAnnotations", value: `podAnnotations={"sidecar":"no-thanks"}`, seen: "sidecar: no-thanks"},
	{name: "podLabels", value: `podLabels={"tier":"ops"}`, seen: "tier: ops"},
	{name: "deploymentAnnotations", value: `deploymentAnnotations={"reloader":"auto"}`, seen: "reloader: auto"},
	{name: "terminationGracePeriodSeconds", value: `terminationGracePeriodSeconds=90`, seen: "terminationGracePeriodSeconds: 90"},
	{name: "shutdownDelaySeconds", value: `shutdownDelaySeconds=7`, with: `database.existingSecret="own-database"`, seen: "shutdown-delay: 7s", alone: true},
	{name: "extraEnv", value: `extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]`, seen: "name: HTTPS_PROXY"},
	{name: "extraVolumes", value: `extraVolumes=[{"name":"more","emptyDir":{}}]`, seen: "name: more"},
	{name: "extraVolumeMounts", value: `extraVolumeMounts=[{"name":"more","mountPath":"/more"}]`, with: `extraVolumes=[{"name":"more","emptyDir":{}}]`, seen: "mountPath: /more"},
	{name: "notifiers", value: `notifiers=[{"name":"oncall","shape":"slack","urlSecret":{"name":"slack-oncall","key":"url"}}]`, seen: "name: slack-oncall"},
	{name: "externalUrl", value: `externalUrl="https://ops.example.com/khook"`, seen: "external-url: https://ops.example.com/khook"},
	{name: "hostAliases", value: `hostAliases=[{"ip":"10.9.8.7","hostnames":["kagent.example.com"]}]`, seen: "ip: 10.9.8.7"},
}

// withoutEffect are the values of the original that khook takes, and says in its notes that they do nothing.
var withoutEffect = map[string]string{
	"kagent.retryAttempts": "kagent.retryAttempts=9", "kagent.retryBackoff": `kagent.retryBackoff="9s"`,
	"controller.deduplication.cleanupIntervalMinutes": "controller.deduplication.cleanupIntervalMinutes=9",
}

func TestEachValueDoesWhatItSays(t *testing.T) {
	for _, e := range examples {
		var with []string
		if e.with != "" {
			with = []string{"--set-json", e.with}
		}
		out, without := render(t, append(with, "--set-json", e.value)...), render(t, with...)
		want, absent := strings.CutPrefix(e.seen, "!")
		if strings.Contains(out, want) == absent {
			t.Errorf("%s: %q seen: %t", e.value, want, absent)
		}
		if strings.Contains(without, want) != absent {
			t.Errorf("%s: %q is no sign of it: it is the same without", e.value, want)
		}
	}
}

func TestValuesWithoutEffectAreTold(t *testing.T) {
	for name, set := range withoutEffect {
		out, err := helm(t, "install", "khook", chart, "-n", "kagent", "--dry-run=client", "--set-json", set)
		if err != nil || !strings.Contains(out, name) || !strings.Contains(out, "They have no effect") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestEveryValueHasAnExample(t *testing.T) {
	text, err := os.ReadFile(chart + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema node
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for _, name := range schema.values("") {
		_, told := withoutEffect[name]
		if !told && !slices.ContainsFunc(examples, func(e example) bool { return e.name == name }) {
			t.Errorf("%s has none", name)
		}
	}
}

// node is a part of the schema; a value of the chart has a default.
type node struct {
	Default    json.RawMessage
	Properties map[string]*node
}

func (n *node) values(path string) []string {
	if n.Default != nil {
		return []string{path}
	}
	var found []string
	for name, p := range n.Properties {
		if name != "global" {
			found = append(found, p.values(strings.TrimPrefix(path+"."+name, "."))...)
		}
	}
	return found
}
