{{/* TLS of khook's ports. */}}

{{/* How the ports get their certificate: off, self-signed, cert-manager or secret. */}}
{{- define "khook.tlsMode" -}}
{{- $tls := .Values.api.tls -}}
{{- $mode := $tls.mode | default (ternary "off" "secret" (empty $tls.secretName)) -}}
{{- if and (eq $mode "secret") (empty $tls.secretName) -}}
{{- fail "api.tls.mode is secret: name the Secret with the certificate in api.tls.secretName" -}}
{{- end -}}
{{- if and (eq $mode "self-signed") $tls.secretName -}}
{{- fail "api.tls.mode is self-signed, which makes no Secret: remove api.tls.secretName, or set api.tls.mode to secret" -}}
{{- end -}}
{{- $mode -}}
{{- end -}}

{{/* Not empty if the HTTP API speaks TLS. */}}
{{- define "khook.apiTLS" -}}
{{- if and .Values.api.enabled (ne (include "khook.tlsMode" .) "off") }}yes{{ end -}}
{{- end -}}

{{/* Not empty if the metrics port speaks TLS, and asks who scrapes it. */}}
{{- define "khook.metricsSecure" -}}
{{- if and .Values.metrics.enabled .Values.metrics.secure }}yes{{ end -}}
{{- end -}}

{{/* The Secret with the certificate of the ports that speak TLS; empty if there is none. */}}
{{- define "khook.tlsSecret" -}}
{{- $mode := include "khook.tlsMode" . -}}
{{- if or (include "khook.apiTLS" .) (include "khook.metricsSecure" .) -}}
{{- if eq $mode "secret" }}{{ .Values.api.tls.secretName }}{{ end -}}
{{- if eq $mode "cert-manager" }}{{ .Values.api.tls.secretName | default (printf "%s-tls" (include "khook.fullname" .)) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if a port has a certificate of khook's own authority: without a Secret khook makes it. */}}
{{- define "khook.ownAuthority" -}}
{{- if or (include "khook.apiTLS" .) (include "khook.metricsSecure" .) -}}
{{- if not (include "khook.tlsSecret" .) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* Not empty if khook's own authority is in a Secret: without a volume it would be another one in each Pod. */}}
{{- define "khook.sharedAuthority" -}}
{{- if and (include "khook.ownAuthority" .) (include "khook.databaseSecret" .) }}yes{{ end -}}
{{- end -}}

{{/* The name of khook's Service by which clients in the cluster check the certificate. */}}
{{- define "khook.serviceHost" -}}
{{- printf "%s.%s.svc" (include "khook.fullname" .) (include "khook.namespace" .) -}}
{{- end -}}

{{/* The DNS names in the certificate. */}}
{{- define "khook.tlsNames" -}}
{{- $name := include "khook.fullname" . -}}
- {{ $name }}
- {{ $name }}.{{ include "khook.namespace" . }}
- {{ include "khook.serviceHost" . }}
- {{ include "khook.serviceHost" . }}.cluster.local
{{- range .Values.api.allowedHosts }}
- {{ . }}
{{- end }}
{{- end -}}

{{/* The flags of khook controller about TLS. */}}
{{- define "khook.tlsFlags" -}}
{{- if include "khook.tlsSecret" . -}}
{{- if include "khook.apiTLS" . }}
api-tls-cert-file: /var/run/secrets/khook/tls/tls.crt
api-tls-key-file: /var/run/secrets/khook/tls/tls.key
{{- end }}
{{- if include "khook.metricsSecure" . }}
metrics-tls-cert-file: /var/run/secrets/khook/tls/tls.crt
metrics-tls-key-file: /var/run/secrets/khook/tls/tls.key
{{- end }}
{{- else if include "khook.ownAuthority" . -}}
{{- if include "khook.apiTLS" . }}
api-tls-self-signed: true
{{- end }}
tls-ca-configmap: {{ include "khook.fullname" . }}-ca
{{- if include "khook.sharedAuthority" . }}
tls-authority-secret: {{ include "khook.fullname" . }}-authority
{{- end }}
tls-names:
{{ include "khook.tlsNames" . }}
{{- end -}}
{{- end -}}

{{/*
How Prometheus checks the certificate of the metrics port, as a ServiceMonitor's tlsConfig. It may name an authority in
its own namespace only. Prometheus sends its token: so it is not told to leave the check out, but by the values.
*/}}
{{- define "khook.scrapeTLS" -}}
{{- $monitor := .Values.metrics.serviceMonitor -}}
{{- $here := eq (include "khook.namespace" .) ($monitor.namespace | default (include "khook.namespace" .)) -}}
{{- $mode := include "khook.tlsMode" . -}}
{{- $config := dict "serverName" (include "khook.serviceHost" .) -}}
{{- if $monitor.tlsConfig -}}
{{- $config = mustMerge (deepCopy $monitor.tlsConfig) $config -}}
{{- else if and (ne $mode "secret") (not $here) -}}
{{- fail (printf "metrics.secure: a ServiceMonitor in namespace %s can't name the authority of khook's certificate, which is in %s: leave metrics.serviceMonitor.namespace empty, or say how Prometheus checks the certificate in metrics.serviceMonitor.tlsConfig" $monitor.namespace (include "khook.namespace" .)) -}}
{{- else if include "khook.ownAuthority" . -}}
{{- $_ := set $config "ca" (dict "configMap" (dict "name" (printf "%s-ca" (include "khook.fullname" .)) "key" "ca.crt")) -}}
{{- else if eq $mode "cert-manager" -}}
{{- $_ := set $config "ca" (dict "secret" (dict "name" (include "khook.tlsSecret" .) "key" "ca.crt")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
