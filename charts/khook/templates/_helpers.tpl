{{/* The chart's name. */}}
{{- define "khook.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of khook's objects: the release's, and the chart's where that does not hold it. */}}
{{- define "khook.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "khook.namespace" -}}
{{- default .Release.Namespace .Values.namespace.name -}}
{{- end -}}

{{/* What selects khook's Pods. It can't change in an upgrade, and is what the original's chart had. */}}
{{- define "khook.selectorLabels" -}}
app.kubernetes.io/name: {{ include "khook.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "khook.labels" -}}
{{ include "khook.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/component: controller
app.kubernetes.io/part-of: kagent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end -}}

{{- define "khook.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "khook.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "khook.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "khook.claim" -}}
{{- default (printf "%s-history" (include "khook.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "khook.apiAuth" -}}
{{- .Values.api.auth | default (ternary "caller" "kubernetes" (not (empty .Values.watchNamespaces))) -}}
{{- end -}}

{{/* The flags of khook controller, for --config. What "config" names wins. */}}
{{- define "khook.config" -}}
{{- $v := .Values -}}
{{- if and $v.api.audiences (eq (include "khook.apiAuth" .) "caller") -}}
{{- fail "api.audiences can't be used with api.auth caller, which watchNamespaces has by default: khook asks the API server with the caller's own token, so it must have been made for the API server; remove api.audiences, or let khook ask in its own name (api.auth kubernetes, without watchNamespaces)" -}}
{{- end -}}
{{- $flags := dict
  "kagent-url" $v.kagent.apiUrl
  "kagent-user-id" $v.kagent.userId
  "kagent-timeout" $v.kagent.timeout
  "agent-namespaces" $v.agentNamespaces
  "max-calls-per-hour" $v.maxCallsPerHour
  "dedup-window" (printf "%vm" $v.controller.deduplication.timeoutMinutes)
  "retention" $v.retention
  "database" "/var/lib/khook/khook.db"
  "log-level" $v.controller.logLevel
  "log-format" $v.controller.logFormat
  "leader-elect" $v.controller.leaderElection.enabled
  "leader-election-id" $v.controller.leaderElection.resourceName
  "metrics-bind-address" (ternary (printf ":%v" $v.metrics.port) "0" $v.metrics.enabled)
  "health-probe-bind-address" ":8081"
  "api-bind-address" (ternary ":8082" "0" $v.api.enabled)
  "api-auth" (include "khook.apiAuth" .)
-}}
{{- with $v.watchNamespaces }}{{ $_ := set $flags "namespaces" . }}{{ end -}}
{{- with $v.cluster }}{{ $_ := set $flags "cluster" . }}{{ end -}}
{{- with $v.kagent.dialect }}{{ $_ := set $flags "kagent-dialect" . }}{{ end -}}
{{- with $v.kagent.headers }}{{ $_ := set $flags "kagent-header" . }}{{ end -}}
{{- if include "khook.databaseSecret" . }}
{{- $_ := set $flags "database-file" "/var/run/secrets/khook/database/url" }}
{{- $_ := set $flags "database-max-connections" $v.database.maxConnections }}
{{- $_ := set $flags "shutdown-delay" (printf "%ds" (int $v.shutdownDelaySeconds)) }}
{{- end -}}
{{- if include "khook.kagentToken" . }}{{ $_ := set $flags "kagent-token-file" "/var/run/secrets/khook/kagent/token" }}{{ end -}}
{{- with $v.api.audiences }}{{ $_ := set $flags "api-audiences" . }}{{ end -}}
{{- with $v.api.allowedHosts }}{{ $_ := set $flags "allowed-hosts" . }}{{ end -}}
{{- with $v.api.trustedProxies }}{{ $_ := set $flags "trusted-proxies" . }}{{ end -}}
{{- if $v.api.serveClusters }}{{ $_ := set $flags "serve-clusters" true }}{{ end -}}
{{- if $v.allowPlainValues }}{{ $_ := set $flags "allow-plain-values" true }}{{ end -}}
{{- if include "khook.metricsSecure" . }}{{ $_ := set $flags "metrics-secure" true }}{{ end -}}
{{- with $v.externalUrl }}{{ $_ := set $flags "external-url" . }}{{ end -}}
{{- if $v.notifiers }}{{ $_ := set $flags "notifiers-file" "/etc/khook/notifiers.yaml" }}{{ end -}}
{{- range $name, $value := include "khook.tlsFlags" . | fromYaml }}{{ $_ := set $flags $name $value }}{{ end -}}
{{- range $name, $value := $v.config }}{{ $_ := set $flags $name $value }}{{ end -}}
{{- toYaml $flags -}}
{{- end -}}

{{/* The notifiers' file. What is in Secrets is named by where it is mounted: see khook.notifierSecrets. */}}
{{- define "khook.notifiers" -}}
{{- $all := list -}}
{{- range $n := .Values.notifiers -}}
{{- $one := omit $n "urlSecret" "headers" -}}
{{- with $n.urlSecret }}{{ $_ := set $one "urlFile" (printf "/var/run/secrets/khook/notifiers/%s/url" $n.name) }}{{ end -}}
{{- $headers := list -}}
{{- range $i, $h := $n.headers -}}
{{- $header := omit $h "valueSecret" -}}
{{- if $h.valueSecret }}{{ $_ := set $header "valueFile" (printf "/var/run/secrets/khook/notifiers/%s/header-%d" $n.name $i) }}{{ end -}}
{{- $headers = append $headers $header -}}
{{- end -}}
{{- with $headers }}{{ $_ := set $one "headers" . }}{{ end -}}
{{- $all = append $all $one -}}
{{- end -}}
{{- toYaml (dict "notifiers" $all) -}}
{{- end -}}

{{/* The Secrets of the notifiers, as sources of a projected volume; nothing if they need none. */}}
{{- define "khook.notifierSecrets" -}}
{{- range $n := .Values.notifiers }}
{{- with $n.urlSecret }}
- secret:
    name: {{ .name }}
    items:
    - key: {{ .key }}
      path: {{ $n.name }}/url
{{- end }}
{{- range $i, $h := $n.headers }}
{{- with $h.valueSecret }}
- secret:
    name: {{ .name }}
    items:
    - key: {{ .key }}
      path: {{ $n.name }}/header-{{ $i }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Resources of the container. Without a volume the history counts as ephemeral storage, and the node would end the
Pod when it outgrows the limit: so there is none then. */}}
{{- define "khook.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if and (not (include "khook.volume" .)) $resources.limits -}}
{{- $_ := unset $resources.limits "ephemeral-storage" -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* The Secret with the URL of the PostgreSQL database; empty with SQLite. */}}
{{- define "khook.databaseSecret" -}}
{{- if .Values.database.existingSecret -}}
{{- .Values.database.existingSecret -}}
{{- else if .Values.database.url -}}
{{- include "khook.fullname" . }}-database
{{- end -}}
{{- end -}}

{{/* How many Pods there are: a history in SQLite is a file of one process. */}}
{{- define "khook.replicas" -}}
{{- $n := int .Values.replicaCount -}}
{{- if not (include "khook.databaseSecret" .) -}}
{{- min 1 $n -}}
{{- else -}}
{{- if and (gt $n 1) (not .Values.controller.leaderElection.enabled) -}}
{{- fail (printf "replicaCount is %d, and controller.leaderElection.enabled is false: each replica would call the agents; turn the leader election on, or run one replica" $n) -}}
{{- end -}}
{{- $n -}}
{{- end -}}
{{- end -}}

{{/* Not empty if a new Pod may begin before the old one ends: both reach the history, and the leader election keeps them apart. */}}
{{- define "khook.rolling" -}}
{{- if and (include "khook.databaseSecret" .) .Values.controller.leaderElection.enabled }}yes{{ end -}}
{{- end -}}

{{/* How Pods are spread: over nodes and zones as far as there is room, unless the values say otherwise. */}}
{{- define "khook.topologySpread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{- toYaml .Values.topologySpreadConstraints -}}
{{- else if gt (int (include "khook.replicas" .)) 1 -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
{{- end -}}
{{- end -}}

{{/* Not empty if the history is a file on a volume. */}}
{{- define "khook.volume" -}}
{{- if and .Values.persistence.enabled (not (include "khook.databaseSecret" .)) }}yes{{ end -}}
{{- end -}}

{{/* Not empty if kagent gets a bearer token. */}}
{{- define "khook.kagentToken" -}}
{{- if or .Values.kagent.tokenSecret.name .Values.kagent.serviceAccountToken.enabled }}yes{{ end -}}
{{- end -}}

{{/* What khook may do in each namespace that it watches: config/rbac/role.yaml, without the two reviews. */}}
{{- define "khook.rules" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list, watch]
- apiGroups: [kagent.dev]
  resources: [hooks]
  verbs: [get, list, watch]
- apiGroups: [kagent.dev]
  resources: [hooks/status]
  verbs: [get, patch, update]
{{- end -}}

{{/* Whom khook's Roles are for. */}}
{{- define "khook.subjects" -}}
- kind: ServiceAccount
  name: {{ include "khook.serviceAccountName" . }}
  namespace: {{ include "khook.namespace" . }}
{{- end -}}
