{{/* What the operator does in a namespace that it watches, and nothing else. docs/install.md says why for each. */}}
{{- define "mcp-operator.rules" -}}
# The three kinds: read; their status: server-side apply.
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers, mcpproxies, mcproutes]
  verbs: [list, watch]
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers/status, mcpproxies/status, mcproutes/status]
  verbs: [patch]
# An approval by annotation is taken away once it is in the record of the definitions.
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers]
  verbs: [patch]
# Owner references that block the owner's deletion (admission plugin OwnerReferencesPermissionEnforcement).
- apiGroups: [mcp-operator.dev]
  resources: [mcpservers/finalizers, mcpproxies/finalizers]
  verbs: [update]
# Children: server-side apply, and deletion of what is no longer wanted.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, secrets, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses, networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Where a cluster has these APIs.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
# Pods of proxies and servers: their addresses and readiness; an annotation that makes the kubelet sync a new configuration.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
