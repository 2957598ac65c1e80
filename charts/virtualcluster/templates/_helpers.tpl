{{- /* Labels of every object of the release. */ -}}
{{- define "vc.labels" -}}
app.kubernetes.io/name: virtualcluster
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "vc.selector" -}}
app.kubernetes.io/name: virtualcluster
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /*
Values of earlier charts, read once: a JSON object with serviceCIDR and the kinds that are not synced. An argument
that cannot be honoured is refused by name.
*/ -}}
{{- define "vc.read" -}}
{{- $cidr := .Values.serviceCIDR -}}
{{- $off := list -}}
{{- $kinds := dict "pods" "Pod" "services" "Service" "endpointslices" "EndpointSlice" "endpoints" "EndpointSlice" "configmaps" "ConfigMap" "secrets" "Secret" "persistentvolumeclaims" "PersistentVolumeClaim" "networkpolicies" "NetworkPolicy" "nodes" "Node" "events" "Event" "ingresses" "Ingress" "ingressclasses" "IngressClass" "storageclasses" "StorageClass" "priorityclasses" "PriorityClass" "poddisruptionbudgets" "PodDisruptionBudget" "volumesnapshots" "VolumeSnapshot" "volumesnapshotclasses" "VolumeSnapshotClass" -}}
{{- with .Values.virtualCluster.image -}}
{{- fail (printf "virtualCluster.image %s is not supported: the control plane runs from kubernetes.image; leave virtualCluster.image empty" .) -}}
{{- end -}}
{{- if .Values.virtualCluster.env -}}
{{- fail "virtualCluster.env is not supported" -}}
{{- end -}}
{{- range .Values.virtualCluster.extraArgs -}}
{{- if hasPrefix "--service-cidr=" . -}}
{{- $given := trimPrefix "--service-cidr=" . -}}
{{- if and $cidr (ne $cidr $given) -}}
{{- fail (printf "virtualCluster.extraArgs %s is not the Service CIDR of the host cluster, which is %s; host and virtual cluster share it" . $cidr) -}}
{{- end -}}
{{- $cidr = $given -}}
{{- else -}}
{{- fail (printf "virtualCluster.extraArgs %s is not supported; --service-cidr=CIDR is" .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.syncer.extraArgs -}}
{{- if hasPrefix "--disable-sync-resources=" . -}}
{{- range splitList "," (trimPrefix "--disable-sync-resources=" .) -}}
{{- if not (hasKey $kinds .) -}}
{{- fail (printf "syncer.extraArgs --disable-sync-resources=%s is not supported; known are %s" . (join ", " (keys $kinds | sortAlpha))) -}}
{{- end -}}
{{- $off = append $off (get $kinds .) -}}
{{- end -}}
{{- else -}}
{{- fail (printf "syncer.extraArgs %s is not supported; --disable-sync-resources=KIND,... is" .) -}}
{{- end -}}
{{- end -}}
{{- range $kind, $state := omit .Values.sync "customResources" -}}
{{- if not $state.enabled -}}
{{- $off = append $off (get $kinds $kind) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.scheduler.enabled (not .Values.hostNodes.enabled) -}}
{{- fail "scheduler.enabled needs hostNodes.enabled: a scheduler has to see the host's nodes" -}}
{{- end -}}
{{- if and .Values.sync.nodes.syncAllNodes (not .Values.hostNodes.enabled) -}}
{{- fail "sync.nodes.syncAllNodes needs hostNodes.enabled: the right to read the host's nodes" -}}
{{- end -}}
{{- if and (or .Values.scheduler.enabled .Values.sync.nodes.syncAllNodes) (not .Values.sync.nodes.enabled) -}}
{{- fail "scheduler.enabled and sync.nodes.syncAllNodes need sync.nodes.enabled" -}}
{{- end -}}
{{- if not $cidr -}}
{{- fail "serviceCIDR is empty: give the Service CIDR of the host cluster, e.g. --set serviceCIDR=10.96.0.0/12 (kubectl get servicecidr kubernetes)" -}}
{{- end -}}
{{- if gt (len .Release.Name) 40 -}}
{{- fail "the name of a virtual cluster has at most 40 characters" -}}
{{- end -}}
{{- dict "serviceCIDR" $cidr "disabledKinds" (without $off "" | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{- /* Hosts for this virtual cluster: with its names in them, one list gives every virtual cluster a domain of its own. */ -}}
{{- define "vc.ingressHosts" -}}
{{- $hosts := list -}}
{{- range .Values.ingressHosts -}}
{{- $hosts = append $hosts (. | replace "$(NAMESPACE)" $.Release.Namespace | replace "$(NAME)" $.Release.Name) -}}
{{- end -}}
{{- $hosts | toJson -}}
{{- end -}}

{{- /* The platform's boundary: where its own policy keeps tenants' pods from ranges, theirs do not open them. */ -}}
{{- define "vc.blockedCIDRs" -}}
{{- $isolation := .Values.isolation | default dict -}}
{{- $blocked := .Values.networkPolicies.blockedCIDRs -}}
{{- if and $isolation.enabled (dig "networkPolicy" "enabled" false $isolation) -}}
{{- /* Beside everything of one family, the policy's range is not worth a rule of tenants: all ranges are closed. */ -}}
{{- $block := dig "networkPolicy" "outgoingConnections" "ipBlock" dict $isolation | default dict -}}
{{- $others := dict "0.0.0.0/0" (list "::/0") "::/0" (list "0.0.0.0/0") -}}
{{- $closed := get $others ($block.cidr | default "") | default (list "0.0.0.0/0" "::/0") -}}
{{- $blocked = concat $blocked ($block.except | default list) $closed -}}
{{- end -}}
{{- $blocked | uniq | toJson -}}
{{- end -}}

{{- /* The hypervisor's configuration, see Config in src/loft/hypervisor/config.py. */ -}}
{{- define "vc.config" -}}
{{- $read := include "vc.read" . | fromJson -}}
{{- dict
  "name" .Release.Name
  "namespace" .Release.Namespace
  "serviceCidr" $read.serviceCIDR
  "replicas" (int .Values.controlPlane.replicas)
  "disabledKinds" $read.disabledKinds
  "hostNodes" .Values.hostNodes.enabled
  "allNodes" .Values.sync.nodes.syncAllNodes
  "nodeSelector" .Values.sync.nodes.nodeSelector
  "scheduler" .Values.scheduler.enabled
  "metrics" .Values.metrics.enabled
  "podSecurity" .Values.isolation.podSecurityStandard
  "dnsEnabled" .Values.dns.enabled
  "dnsImage" .Values.dns.image
  "dnsReplicas" (int .Values.dns.replicas)
  "clusterDomain" .Values.clusterDomain
  "kubernetesVersion" .Values.kubernetes.version
  "certificateHours" (int .Values.certificates.validityHours)
  "extraNames" .Values.certificates.extraSANs
  "storageClasses" .Values.storageClasses
  "ingressHosts" (include "vc.ingressHosts" . | fromJsonArray)
  "ingressClasses" .Values.ingressClasses
  "priorityClasses" .Values.priorityClasses
  "snapshotClasses" .Values.snapshotClasses
  "enabledKinds" (ternary (list "StorageClassToHost") list .Values.sync.storageclasses.toHost)
  "customResources" .Values.sync.customResources
  "tolerations" .Values.tolerations
  "blockedCidrs" (include "vc.blockedCIDRs" . | fromJsonArray)
| toJson -}}
{{- end -}}

{{- define "vc.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- /* etcd members, each with its stable name. */ -}}
{{- define "vc.etcdMembers" -}}
{{- $members := list -}}
{{- range $at := until (int .Values.controlPlane.replicas) -}}
{{- $pod := printf "%s-%d" $.Release.Name $at -}}
{{- $members = append $members (printf "%s=https://%s.%s-headless.%s.svc:2380" $pod $pod $.Release.Name $.Release.Namespace) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{- define "vc.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.storage.className }}
storageClassName: {{ . | quote }}
{{- end }}
resources: { requests: { storage: {{ .Values.storage.size }} } }
{{- end -}}

{{- /* Every server is verified by an authority of ours: loading the system's costs time and memory for nothing. */ -}}
{{- define "vc.noSystemAuthorities" -}}
- { name: SSL_CERT_FILE, value: /dev/null }
- { name: SSL_CERT_DIR, value: /dev/null }
{{- end -}}

{{- define "vc.podEnvironment" -}}
- { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
- { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
{{- end -}}
