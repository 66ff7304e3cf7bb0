{{/* The name of the release's objects. It is short enough for suffixes. */}}
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

{{/* The labels that every object has by Helm's conventions. */}}
{{- define "kubelock.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels that select the Pods of this release only. */}}
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

{{- define "kubelock.serviceAccount" -}}
{{- with .Values.serviceAccount -}}
{{- if not (or .create .name) -}}
{{- fail "serviceAccount.create=false needs serviceAccount.name" -}}
{{- end -}}
{{- .name | default (include "kubelock.reaper" $) -}}
{{- end -}}
{{- end -}}

{{/* The reaper's service account, as the subject of a binding. */}}
{{- define "kubelock.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kubelock.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/*
Binds a ClusterRole to the reaper: in the namespaces to which the reaper is restricted, or otherwise in the
whole cluster. The argument is a dict of root and the role's name.
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
