{{- define "loft.labels" -}}
app.kubernetes.io/name: loft
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "loft.selector" -}}
app.kubernetes.io/name: loft
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "loft.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- /* The centre's configuration, see ServerConfig in src/loft/cmd/server_config.py. */ -}}
{{- define "loft.config" -}}
{{- dict
  "adminUsername" .Values.admin.username
  "adminEmail" .Values.admin.email
  "localCluster" (ternary .Values.localCluster.name "" .Values.localCluster.enabled)
  "localClusterDisplayName" .Values.localCluster.displayName
  "hosts" .Values.hosts
  "agentUrl" .Values.agents.url
  "agentCa" .Values.agents.ca
  "agentImage" (default .Values.image .Values.agents.image)
  "agentServiceType" .Values.agents.serviceType
  "leaseSeconds" (int .Values.agents.leaseSeconds)
  "certificateSecret" .Values.gateway.certificateSecret
  "trustedProxyHops" (int .Values.gateway.trustedProxyHops)
  "apiService" .Values.apiService.enabled
| toJson -}}
{{- end -}}
