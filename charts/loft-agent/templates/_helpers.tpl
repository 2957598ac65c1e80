{{- define "agent.labels" -}}
app.kubernetes.io/name: loft-agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "agent.selector" -}}
app.kubernetes.io/name: loft-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "agent.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- /* The agent's configuration, see AgentConfig in src/loft/cmd/agent_config.py. */ -}}
{{- define "agent.config" -}}
{{- dict
  "certificateSecret" .Values.gateway.certificateSecret
  "hosts" .Values.gateway.hosts
  "trustedProxyHops" (int .Values.gateway.trustedProxyHops)
  "apiService" .Values.apiService.enabled
  "virtualClusterDefaults" .Values.virtualClusters.defaults
  "virtualClusterFixed" (merge (deepCopy .Values.virtualClusters.fixed) (dict "image" .Values.image))
  "warmVirtualClusters" (int .Values.virtualClusters.warm)
| toJson -}}
{{- end -}}
