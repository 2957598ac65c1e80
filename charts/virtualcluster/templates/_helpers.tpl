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
{{- $fromHost := .Values.mapServices.fromHost -}}
{{- $fromVirtual := .Values.mapServices.fromVirtual -}}
{{- range .Values.syncer.extraArgs -}}
{{- if hasPrefix "--map-host-service=" . -}}
{{- $fromHost = append $fromHost (include "vc.mapped" . | fromJson) -}}
{{- else if hasPrefix "--map-virtual-service=" . -}}
{{- $fromVirtual = append $fromVirtual (include "vc.mapped" . | fromJson) -}}
{{- else if hasPrefix "--disable-sync-resources=" . -}}
{{- range splitList "," (trimPrefix "--disable-sync-resources=" .) -}}
{{- if not (hasKey $kinds .) -}}
{{- fail (printf "syncer.extraArgs --disable-sync-resources=%s is not supported; known are %s" . (join ", " (keys $kinds | sortAlpha))) -}}
{{- end -}}
{{- $off = append $off (get $kinds .) -}}
{{- end -}}
{{- else -}}
{{- fail (printf "syncer.extraArgs %s is not supported; --disable-sync-resources=KIND,..., --map-host-service=FROM=TO and --map-virtual-service=FROM=TO are" .) -}}
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
{{- with .Values.distribution.image -}}
{{- if gt (int $.Values.controlPlane.replicas) 1 -}}
{{- fail "distribution.image needs controlPlane.replicas 1" -}}
{{- else if $.Values.scheduler.enabled -}}
{{- fail "distribution.image and scheduler.enabled: whether a scheduler runs is the distribution's to say" -}}
{{- else if $.Values.externalEtcd.endpoints -}}
{{- fail "distribution.image and externalEtcd.endpoints: where its store is, is the distribution's to say" -}}
{{- end -}}
{{- end -}}
{{- if not $cidr -}}
{{- fail "serviceCIDR is empty: give the Service CIDR of the host cluster, e.g. --set serviceCIDR=10.96.0.0/12 (kubectl get servicecidr kubernetes)" -}}
{{- end -}}
{{- if lt (int .Values.certificates.authorityMinutes) (mul 6 (int .Values.certificates.overlapMinutes) | int) -}}
{{- fail "certificates.authorityMinutes must be at least 6 times certificates.overlapMinutes" -}}
{{- end -}}
{{- if gt (len .Release.Name) 40 -}}
{{- fail "the name of a virtual cluster has at most 40 characters" -}}
{{- end -}}
{{- range $fromHost -}}
{{- $namespace := splitList "/" .from | first -}}
{{- $allowed := append $.Values.hostServices (printf "%s/*" $.Release.Namespace) -}}
{{- if not (or (has .from $allowed) (has (printf "%s/*" $namespace) $allowed)) -}}
{{- fail (printf "mapServices.fromHost: Service %s is not offered; beside namespace %s those are that hostServices lists" .from $.Release.Namespace) -}}
{{- end -}}
{{- if not (contains "/" .to) -}}
{{- fail (printf "mapServices.fromHost: to %s must be NAMESPACE/NAME of a Service inside" .to) -}}
{{- end -}}
{{- end -}}
{{- range $fromVirtual -}}
{{- if contains "/" .to -}}
{{- fail (printf "mapServices.fromVirtual: to %s must be a name: the Service is made in namespace %s" .to $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- dict "serviceCIDR" $cidr "fromHost" $fromHost "fromVirtual" $fromVirtual "disabledKinds" (without $off "" | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{- /* One of the arguments --map-host-service=FROM=TO and --map-virtual-service=FROM=TO of earlier charts. */ -}}
{{- define "vc.mapped" -}}
{{- $parts := splitList "=" . -}}
{{- if ne (len $parts) 3 -}}
{{- fail (printf "syncer.extraArgs %s must be %s=NAMESPACE/NAME=NAME" . (first $parts)) -}}
{{- end -}}
{{- dict "from" (index $parts 1) "to" (index $parts 2) | toJson -}}
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

{{- /* Where the API server listens. */ -}}
{{- define "vc.apiPort" -}}
{{- ternary (int .Values.distribution.port) 8443 (ne .Values.distribution.image "") -}}
{{- end -}}

{{- define "vc.kubernetesImage" -}}
{{- .Values.kubernetes.image | default (printf "loft.sh/kubernetes:%s" .Values.kubernetes.version) -}}
{{- end -}}

{{- /* A quantity of storage in bytes. */ -}}
{{- define "vc.bytes" -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number .)) | int64 -}}
{{- end -}}

{{- /*
How large etcd's database may become. A defragmentation writes a second one, a restore a third; the logs are up to six
files of 64 MiB.
*/ -}}
{{- define "vc.storeLimit" -}}
{{- $size := include "vc.bytes" .Values.storage.size | int64 -}}
{{- $most := div (sub $size 536870912) 3 -}}
{{- if lt $most 33554432 -}}
{{- fail (printf "storage.size %s is too small for a store: at least 608Mi are needed" .Values.storage.size) -}}
{{- end -}}
{{- $limit := $most -}}
{{- with .Values.storage.limit -}}
{{- $limit = include "vc.bytes" . | int64 -}}
{{- end -}}
{{- if or (gt $limit $most) (lt $limit 16777216) -}}
{{- fail (printf "storage.limit %s must be between 16Mi and %dMi: a volume of storage.size %s holds the database three times and its logs" .Values.storage.limit (div $most 1048576) .Values.storage.size) -}}
{{- end -}}
{{- $limit -}}
{{- end -}}

{{- define "vc.isExternal" -}}
{{- if and (eq .Values.externalEtcd.retentionPolicy "Delete") .Values.externalEtcd.prefix -}}
{{- fail "externalEtcd.retentionPolicy Delete needs an empty externalEtcd.prefix: below one that was chosen there may be something of others" -}}
{{- end -}}
{{- if .Values.externalEtcd.endpoints -}}
{{- if not .Values.externalEtcd.secretName -}}
{{- fail "externalEtcd.secretName is empty: name the Secret with ca.crt, tls.crt and tls.key for externalEtcd.endpoints" -}}
{{- end -}}
true
{{- else if .Values.externalEtcd.secretName -}}
{{- fail "externalEtcd.endpoints is empty, but externalEtcd.secretName is not" -}}
{{- end -}}
{{- end -}}

{{- /* Whether a control plane of one replica with a store of ours becomes one of three. */ -}}
{{- define "vc.grows" -}}
{{- if and (gt (int .Values.controlPlane.replicas) 1) (not (include "vc.isExternal" .)) -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}
{{- if not .spec.volumeClaimTemplates -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether a StatefulSet keeps its store in the pod. */ -}}
{{- define "vc.forgets" -}}
{{- range .spec.template.spec.volumes -}}
{{- if and (eq .name "data") (hasKey . "emptyDir") -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
Whether the first replica's volume is the chart's: where there is one replica, and also afterwards, since what a chart
no longer has Helm deletes.
*/ -}}
{{- define "vc.ownsClaim" -}}
{{- if and .Values.storage.persistence (not (include "vc.isExternal" .)) -}}
{{- if eq (int .Values.controlPlane.replicas) 1 -}}
true
{{- else -}}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "data-%s-0" .Release.Name) -}}
{{- if eq (get (.metadata.annotations | default dict) "meta.helm.sh/release-name") $.Release.Name -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What would lose the store's contents, or start another version than can read them, is refused. */ -}}
{{- define "vc.checkUpgrade" -}}
{{- $replicas := int .Values.controlPlane.replicas -}}
{{- if not (include "vc.isExternal" .) -}}
{{- if and (gt $replicas 1) (not .Values.storage.persistence) -}}
{{- fail "controlPlane.replicas 3 needs storage.persistence: an etcd member that loses its volume with its pod has to be taken in anew each time" -}}
{{- end -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}
{{- $was := int .spec.replicas -}}
{{- if and (gt $was $replicas) (has $was (list 1 3)) -}}
{{- fail (printf "controlPlane.replicas cannot be changed from %d to %d: take a snapshot, and restore it into a new virtual cluster" $was $replicas) -}}
{{- end -}}
{{- if and (include "vc.grows" $) (include "vc.forgets" .) -}}
{{- fail "controlPlane.replicas and storage.persistence cannot be changed at once: the store, which is in the pod, would be lost; take a snapshot, and restore it into a new virtual cluster" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with lookup "v1" "Secret" .Release.Namespace (printf "vc-%s-certs" .Release.Name) -}}
{{- /* Noted by the hypervisor, see src/loft/hypervisor/versions.py. */ -}}
{{- $old := get (.metadata.annotations | default dict) "loft.sh/kubernetes-version" -}}
{{- $new := $.Values.kubernetes.version -}}
{{- if $old -}}
{{- $from := index (splitList "." $old) 1 | int -}}
{{- $to := index (splitList "." $new) 1 | int -}}
{{- if lt $to $from -}}
{{- fail (printf "kubernetes.version cannot go back from %s to %s: an older version cannot read what a newer one has stored" $old $new) -}}
{{- else if gt (sub $to $from) 1 -}}
{{- fail (printf "kubernetes.version cannot go from %s to %s: minor versions cannot be skipped; upgrade to v1.%d first" $old $new (add $from 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
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
  "metrics" (and .Values.metrics.enabled (not .Values.distribution.image))
  "podSecurity" .Values.isolation.podSecurityStandard
  "dnsEnabled" .Values.dns.enabled
  "dnsImage" .Values.dns.image
  "dnsReplicas" (int .Values.dns.replicas)
  "clusterDomain" .Values.clusterDomain
  "kubernetesVersion" .Values.kubernetes.version
  "certificateMinutes" (int (.Values.certificates.validityMinutes | default (mul 60 .Values.certificates.validityHours)))
  "authorityMinutes" (int .Values.certificates.authorityMinutes)
  "rotateAuthority" .Values.certificates.rotateAuthority
  "overlapMinutes" (int .Values.certificates.overlapMinutes)
  "extraNames" (concat .Values.certificates.extraSANs (include "vc.ingressHost" . | fromJsonArray) | default list)
  "ingressHost" (include "vc.ingressHost" . | fromJsonArray | join "")
  "loadBalancer" (eq .Values.expose.service.type "LoadBalancer")
  "storeStays" .Values.storage.persistence
  "storeLimit" (include "vc.storeLimit" . | int64)
  "storeIsOurs" (not (or (include "vc.isExternal" .) .Values.distribution.image))
  "distribution" (ternary (dict "port" (int .Values.distribution.port) "kubeconfig" (base .Values.distribution.kubeconfig)) nil (ne .Values.distribution.image ""))
  "exportServer" .Values.exportKubeConfig.server
  "exportContext" .Values.exportKubeConfig.context
  "exports" .Values.exportKubeConfig.secrets
  "storageClasses" .Values.storageClasses
  "ingressHosts" (include "vc.ingressHosts" . | fromJsonArray)
  "ingressClasses" .Values.ingressClasses
  "priorityClasses" .Values.priorityClasses
  "snapshotClasses" .Values.snapshotClasses
  "enabledKinds" (ternary (list "StorageClassToHost") list .Values.sync.storageclasses.toHost)
  "hostsImage" (ternary .Values.image "" .Values.sync.pods.rewriteHosts)
  "customResources" .Values.sync.customResources
  "tolerations" .Values.tolerations
  "fromHost" $read.fromHost
  "fromVirtual" $read.fromVirtual
  "blockedCidrs" (include "vc.blockedCIDRs" . | fromJsonArray)
| toJson -}}
{{- end -}}

{{- /* The Ingress' host as a JSON list of one or none. */ -}}
{{- define "vc.ingressHost" -}}
{{- with .Values.expose.ingress -}}
{{- if .enabled -}}
{{- list (required "expose.ingress.host is empty: give the name by which the API server is reached" .host) | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vc.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
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

{{- /*
A step before or after Helm's own work: a pod with an account of its own, both only for that time. Arguments: root,
hook, name, command, rules; optionally secret, a Secret that is mounted at /run/loft/etcd.
*/ -}}
{{- define "vc.step" -}}
{{- $root := .root -}}
{{- $name := printf "vc-%s-%s" $root.Release.Name .name -}}
{{- range $at, $kind := list "ServiceAccount" "Role" "RoleBinding" }}
apiVersion: {{ ternary "v1" "rbac.authorization.k8s.io/v1" (eq $kind "ServiceAccount") }}
kind: {{ $kind }}
metadata:
  name: {{ $name }}
  labels: {{- include "vc.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: {{ $.hook }}
    helm.sh/hook-weight: {{ sub $at 3 | quote }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- if eq $kind "ServiceAccount" }}
automountServiceAccountToken: false
{{- else if eq $kind "Role" }}
rules: {{- toYaml $.rules | nindent 2 }}
{{- else }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }} }
subjects:
  - { kind: ServiceAccount, name: {{ $name }}, namespace: {{ $root.Release.Namespace }} }
{{- end }}
---
{{- end }}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}
  labels:
    app.kubernetes.io/name: virtualcluster-{{ .name }}
    app.kubernetes.io/instance: {{ $root.Release.Name }}
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  restartPolicy: OnFailure
  activeDeadlineSeconds: 120
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: { type: RuntimeDefault }
  {{- with $root.Values.controlPlane.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.controlPlane.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ $root.Values.image | quote }}
      imagePullPolicy: IfNotPresent
      command: {{ .command | toJson }}
      securityContext: {{- include "vc.hardened" $root | nindent 8 }}
      resources: {{- toYaml $root.Values.controlPlane.resources.hypervisor | nindent 8 }}
      {{- with .secret }}
      volumeMounts:
        - { name: etcd, mountPath: /run/loft/etcd, readOnly: true }
      {{- end }}
  {{- with .secret }}
  volumes:
    - name: etcd
      secret: { secretName: {{ . }}, defaultMode: 0440 }
  {{- end }}
{{- end -}}
