{{- define "ganserve.name" -}}
{{- if contains "ganserve" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-ganserve" (.Release.Name | trunc 43 | trimSuffix "-") }}{{ end }}
{{- end }}

{{- define "ganserve.selector" -}}
app.kubernetes.io/name: ganserve
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ganserve.labels" -}}
{{ include "ganserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ganserve.scheme" -}}
{{ if .Values.tls.secret }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- define "ganserve.checkExposure" -}}
{{- if eq (toString .Values.settings.open_health) "false" }}
{{- fail "settings.open_health: is false, but the kubelet's probes have no identity: pods would be restarted for ever. Leave it out; networkPolicy.metrics bounds who reaches the probes." }}
{{- end }}
{{- $known := or .Values.identities.secret .Values.tls.clientCa }}
{{- if and .Values.insecure .Values.tls.secret $known }}
{{- fail "insecure: is true, but tls.secret and identities.secret protect the server. Leave out either." }}
{{- end }}
{{- if not (or .Values.insecure (and .Values.tls.secret $known)) }}
{{- fail "tls.secret, identities.secret: one is empty, and pods let other machines in. Give both; or tls.secret with tls.clientCa; or accept it with insecure: true, behind a mesh that encrypts and authenticates." }}
{{- end }}
{{- end }}
