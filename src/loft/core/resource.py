"""What the API server serves: group, version, plural and kind of each resource, and the path under which it is served.

Paths are built in this one place only, so that a name coming from outside can never reach another path
than its own (a name with a slash, a dot segment or a percent sign is refused).
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

NAME_LENGTH_MAX = 253
"""Longest name the API server accepts for any kind (RFC 1123 subdomain; RBAC and path-segment names too)."""


class Resource(msgspec.Struct, frozen=True):
    """One resource type as discovery describes it; `plural` is its name in URLs, `group` is "" for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The value of `apiVersion` in objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """The resource as RBAC and `kubectl` print it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path, percent-encoded and without query.

        An empty namespace with an empty name is the collection over all namespaces. A subresource may have
        several segments (`proxy/metrics`).
        Raises: ValueError when the parts do not fit the scope of the resource or cannot be a path segment.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.group_resource} is cluster-scoped, but namespace {namespace!r} is given")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.group_resource} {name!r} needs a namespace")
        if subresource and not name:
            raise ValueError(f"subresource {subresource!r} of {self.group_resource} needs a name")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", segment(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(segment(name))
        parts += [segment(part) for part in subresource.split("/")] if subresource else []
        return "/" + "/".join(parts)


def segment(value: str) -> str:
    """Return `value` as one percent-encoded path segment.

    Raises: ValueError for what the API server refuses as a name anyway ("", ".", "..", "/", "%", control
    characters, over-long). Source: k8s.io/apimachinery path-segment validation.
    """
    if not value or value in (".", "..") or len(value) > NAME_LENGTH_MAX:
        raise ValueError(
            f"{value[:64]!r} cannot be a name: it must have 1 to {NAME_LENGTH_MAX} characters, not be a dot"
        )
    if any(char in "/%\\" or ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        raise ValueError(f"{value!r} cannot be a name: '/', '%', '\\' and control characters are not allowed")
    return quote(value, safe=":@!$&'()*+,;=")


def object_key(obj: dict[str, object]) -> str:
    """Return `namespace/name`, or `name` for a cluster-scoped object."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    namespace, name = metadata.get("namespace") or "", metadata.get("name") or ""
    return f"{namespace}/{name}" if namespace else str(name)


def split_key(key: str) -> tuple[str, str]:
    """Return (namespace, name) of a key; the namespace is "" for a cluster-scoped object."""
    namespace, slash, name = key.rpartition("/")
    return (namespace, name) if slash else ("", key)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PVS = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
RESOURCEQUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMITRANGES = Resource("", "v1", "limitranges", "LimitRange")
ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
STORAGECLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMONSETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
JOBS = Resource("batch", "v1", "jobs", "Job")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTERROLEBINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
APISERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
MUTATINGWEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
VALIDATINGWEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
CSRS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESSCLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
SERVICECIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
PODDISRUPTIONBUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
SUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
SELFSUBJECTACCESSREVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SELFSUBJECTREVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)
TOKENREVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)

USERS = Resource("storage.loft.sh", "v1", "users", "User", namespaced=False)
TEAMS = Resource("storage.loft.sh", "v1", "teams", "Team", namespaced=False)
ACCESSKEYS = Resource("storage.loft.sh", "v1", "accesskeys", "AccessKey", namespaced=False)
CLUSTERS = Resource("storage.loft.sh", "v1", "clusters", "Cluster", namespaced=False)
VIRTUALCLUSTERS = Resource("storage.loft.sh", "v1", "virtualclusters", "VirtualCluster")

KNOWN: dict[tuple[str, str], Resource] = {
    (value.api_version, value.kind): value for value in list(globals().values()) if isinstance(value, Resource)
}
"""(apiVersion, kind) of every resource named above; others are found by discovery or refused."""
