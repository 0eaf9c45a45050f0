{{- define "foreshadow.name" -}}
{{- if contains "foreshadow" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-foreshadow" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "foreshadow.selector" -}}
app.kubernetes.io/name: foreshadow
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "foreshadow.labels" -}}
{{ include "foreshadow.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "foreshadow.config" -}}
# Written by the chart; values.config follows.
[listen]
address = "0.0.0.0:7070"
certificate = "/etc/foreshadow/secret/certificate.pem"
key = "/etc/foreshadow/secret/key.pem"

[identity]
tokens = "/etc/foreshadow/secret/tokens.toml"

[store]
directory = "/var/lib/foreshadow"
{{- range $key, $value := .Values.store }}
{{ $key }} = {{ int $value }}
{{- end }}

{{ .Values.config }}
{{- end }}
