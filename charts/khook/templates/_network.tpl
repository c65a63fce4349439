{{/* What the NetworkPolicy lets in and out. */}}

{{/* Not empty if khook is let out to its connections only. Rules for traffic out are of no use without it. */}}
{{- define "khook.restrictEgress" -}}
{{- with .Values.networkPolicy -}}
{{- if or .restrictEgress .kagent .egress }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/*
Who reaches which port. Probes come from the node, and are let in from everywhere; so is all else where the values
name no peers.
*/}}
{{- define "khook.ingress" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $rules := dict "health" (dict "ports" (list (dict "port" "health"))) -}}
{{- if .Values.metrics.enabled }}
{{- $_ := set $rules "metrics" (dict "ports" (list (dict "port" "metrics")) "from" ($policy.metricsFrom | default $policy.from)) -}}
{{- end -}}
{{- if .Values.api.enabled }}
{{- $_ := set $rules "api" (dict "ports" (list (dict "port" "api")) "from" $policy.from) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/*
The connections that khook makes: their ports, and the peers if they are known. A connection that khook gets, such as
to a database, gets its entry here, named in TestEachConnectionOfKhookHasItsRule.
*/}}
{{- define "khook.egress" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $rules := dict "DNS" (dict "ports" (list (dict "port" 53 "protocol" "UDP") (dict "port" 53 "protocol" "TCP"))) -}}
{{- $ports := list -}}
{{- range $policy.apiServerPorts }}{{ $ports = append $ports (dict "port" (int .)) }}{{ end -}}
{{- $_ := set $rules "API server" (dict "ports" $ports) -}}
{{- $_ := set $rules "kagent" (dict "ports" (list (dict "port" (include "khook.urlPort" .Values.kagent.apiUrl | int))) "to" $policy.kagent) -}}
{{- if include "khook.databaseSecret" . }}{{ $_ := set $rules "database" (dict "ports" (list (dict "port" (int .Values.database.port)))) }}{{ end -}}
{{- toYaml $rules -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "khook.urlPort" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/* Rules by name, as a list; a rule for all peers names none. */}}
{{- define "khook.networkRules" -}}
{{- range $name, $rule := . }}
# {{ $name }}
- ports:
    {{- toYaml $rule.ports | nindent 4 }}
  {{- range $side := list "from" "to" }}
  {{- with index $rule $side }}
  {{ $side }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
