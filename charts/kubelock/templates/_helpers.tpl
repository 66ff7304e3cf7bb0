{{/* The name of the release's objects, with room for what is added to it. */}}
{{- define "kubelock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 47 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 47 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "kubelock.reaper" -}}
{{ include "kubelock.fullname" . }}-reaper
{{- end -}}

{{/* What Helm's conventions want on every object. */}}
{{- define "kubelock.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* What finds the Pods of this release, and no others. */}}
{{- define "kubelock.selector" -}}
app.kubernetes.io/name: kubelock
app.kubernetes.io/component: reaper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The labels of objects that are about the reaper's Pods. */}}
{{- define "kubelock.reaperLabels" -}}
app.kubernetes.io/name: kubelock
app.kubernetes.io/component: reaper
{{ include "kubelock.labels" . }}
{{- end -}}

{{- define "kubelock.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The reaper's service account, as the subject of a binding. */}}
{{- define "kubelock.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kubelock.reaper" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/*
Binds a ClusterRole to the reaper where it reaps: in the namespaces that it is restricted
to, or else in all of them. The argument is a dict of root and the role's name.
*/}}
{{- define "kubelock.bindWhereReaped" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- range .root.Values.namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $role }}
  namespace: {{ . }}
  labels:
    {{- include "kubelock.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
{{ include "kubelock.subjects" $root }}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $role }}
  labels:
    {{- include "kubelock.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $role }}
subjects:
{{ include "kubelock.subjects" $root }}
{{- end }}
{{- end -}}
