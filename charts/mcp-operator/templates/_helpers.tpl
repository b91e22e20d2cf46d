{{- define "mcp-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects; 52 characters leave room for their suffixes. */}}
{{- define "mcp-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of objects that belong to no namespace: two releases of one name in two namespaces do not meet. */}}
{{- define "mcp-operator.clusterName" -}}
{{- $name := include "mcp-operator.fullname" . -}}
{{- ternary $name (printf "%s-%s" .Release.Namespace $name) (eq $name .Release.Namespace) -}}
{{- end -}}

{{- define "mcp-operator.instanceLabels" -}}
app.kubernetes.io/name: {{ include "mcp-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What the operator's pods are selected by. */}}
{{- define "mcp-operator.selectorLabels" -}}
{{ include "mcp-operator.instanceLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "mcp-operator.labels" -}}
{{ include "mcp-operator.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "mcp-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "mcp-operator.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | required "serviceAccount.name is needed where serviceAccount.create is false" -}}
{{- end -}}
{{- end -}}

{{/* Reference of an image: (list $ "operator"). */}}
{{- define "mcp-operator.image" -}}
{{- $all := (index . 0).Values.image -}}
{{- $image := index $all (index . 1) -}}
{{- $repository := list (trimSuffix "/" $all.registry) $image.repository | compact | join "/" -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ coalesce $image.tag $all.tag (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "mcp-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mcp-operator.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
  - ALL
{{- end -}}

{{/* What the pods of the operator and of the CRD upgrade share: how they are pulled and placed. */}}
{{- define "mcp-operator.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "mcp-operator.leaseName" -}}
{{- include "mcp-operator.fullname" . }}-leader
{{- end -}}

{{- define "mcp-operator.defaultProxyNamespace" -}}
{{- $namespace := .Values.defaultProxy.namespace | default .Release.Namespace -}}
{{- if and .Values.watchNamespaces (not (has $namespace .Values.watchNamespaces)) -}}
{{- fail (printf "the default proxy would be in namespace %s, which watchNamespaces does not list: set defaultProxy.namespace to one of %s" $namespace (join ", " .Values.watchNamespaces)) -}}
{{- end -}}
{{- $namespace -}}
{{- end -}}
