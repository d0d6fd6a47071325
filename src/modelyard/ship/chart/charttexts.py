"""Texts of a chart that are the same for every release: Secrets out of given files, notes, what people read first."""

from __future__ import annotations

#: Made of files that are given with ``--set-file``; otherwise the Secrets are somebody else's.
SECRETS = """\
{{- define "modelyard.labels" }}
    app.kubernetes.io/name: {{ .Release.Name | quote }}
    app.kubernetes.io/managed-by: modelyard
    modelyard/release: {{ int64 .Values.release | toString | quote }}
{{- end }}
{{- with .Values.access }}
{{- if .keys }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ default (printf "%s-access" $.Release.Name) .existingSecret | quote }}
  namespace: {{ $.Release.Namespace | quote }}
  labels:
    {{- include "modelyard.labels" $ }}
type: Opaque
data:
  {{- with .certificates }}
  certificates.toml: {{ b64enc . | quote }}
  {{- end }}
  keys.json: {{ b64enc .keys | quote }}
  {{- with .tokens }}
  tokens.json: {{ b64enc . | quote }}
  {{- end }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ default (printf "%s-peppers" $.Release.Name) .existingPeppersSecret | quote }}
  namespace: {{ $.Release.Namespace | quote }}
  labels:
    {{- include "modelyard.labels" $ }}
type: Opaque
data:
  {{- range $name, $content := required "with access.keys give access.peppers.NAME=FILE too" .peppers }}
  {{ $name | quote }}: {{ b64enc $content | quote }}
  {{- end }}
{{- end }}
{{- if and .metricsKey $.Values.monitoring }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ default (printf "%s-metrics" $.Release.Name) .existingMetricsSecret | quote }}
  namespace: {{ $.Release.Namespace | quote }}
  labels:
    {{- include "modelyard.labels" $ }}
type: Opaque
data:
  metrics.key: {{ .metricsKey | trim | b64enc | quote }}
{{- end }}
{{- end }}
"""

NOTES = """\
{{ .Release.Name }}, release {{ int64 .Values.release }}: {{ .Values.image }}
{{- if .Values.canary.enabled }}
Canary, release {{ int64 .Values.canary.release }}, gets {{ int .Values.canary.weight }} % of the requests.
{{- end }}
{{- if and (ne .Values.route "none") .Values.host }}

Ask it:
  curl -H "Authorization: Bearer KEY" https://{{ .Values.host }}/v2
{{- else }}

Ask it from this machine:
  kubectl --namespace {{ .Release.Namespace }} port-forward service/{{ .Release.Name }} 8080:8080
  curl -H "Authorization: Bearer KEY" http://127.0.0.1:8080/v2
{{- end }}
"""

IGNORED = """\
.git
*.tgz
*.orig
*~
keys.json
peppers/
"""

_README = """\
# {name}

Modelyard serves the models of this deployment. The image has them, `values.yaml` says which one runs and how.

| Value | For |
|---|---|
| `image`, `release`, `plan` | what runs; they belong together |
| `replicas`, `maxReplicas`, `workers`, `resources` | how much it gets |
| `route`, `host`, `grpcHost`, `gateway`, `ingress` | how callers come in |
| `canary` | another release with a share of the requests |
| `access` | who may call |
| `monitoring`, `callers`, `pullSecret`, `nodeSelector` | the cluster's own ways |

Callers are let in by Secrets, which are in no values file. Without Modelyard at hand, give their files:

    helm upgrade --install {name} . --namespace NAMESPACE \\
      --set-file access.keys=keys.json --set-file access.peppers.NAME=peppers/NAME

`values.schema.json` refuses what cannot be. `helm rollback` brings an earlier release back; Modelyard sees it, and
`modelyard status {name}` says which one runs.
"""


def readme(name: str) -> str:
    """Of the chart of this deployment."""
    return _README.format(name=name)
