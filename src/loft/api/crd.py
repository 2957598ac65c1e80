"""CustomResourceDefinitions of storage.loft.sh/v1, generated from the Structs plus the rules that types cannot say.

The rules live here and not in the Structs: a Struct must be able to read an object that was stored before a
rule existed, while the API server refuses new objects that break it.
Sources: Kubernetes "Extend the API with CustomResourceDefinitions", "CRD validation rules" (CEL, KEP-2876).
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import yaml

from loft.api.accesskey import AccessKey
from loft.api.cluster import Cluster
from loft.api.meta import Kind
from loft.api.schema import Schema, at, schema_of
from loft.api.user import Team, User
from loft.api.virtualcluster import VirtualCluster

GROUP = "storage.loft.sh"
VERSION = "v1"

LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""DNS-1123 label (RFC 1123): names of namespaces."""
SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""DNS-1123 subdomain: names of most objects."""
OBJECT_NAME: Schema = {"maxLength": 253, "pattern": f"^$|{SUBDOMAIN}"}
NAMESPACE_NAME: Schema = {"maxLength": 63, "pattern": f"^$|{LABEL}"}
"""A reference may be empty, as optional strings of Kubernetes may."""
LISTED_NAME: Schema = {"maxLength": 253, "pattern": SUBDOMAIN}
GRANTEE: Schema = {"maxLength": 253, "pattern": rf"^\*$|{SUBDOMAIN}"}
ROLE_NAME: Schema = {"maxLength": 253, "pattern": r"^[^/%]*$"}
TEXT: Schema = {"maxLength": 4096}
LINE: Schema = {"maxLength": 512}
TIME: Schema = {"format": "date-time"}
PERSON_NAME_LENGTH_MAX = 200
"""Leaves room for the prefixes of names made from it (Secrets, RoleBindings)."""
VALUES_LENGTH_MAX = 256 * 1024
"""etcd takes about 1.5 MiB per object; chart values and manifests together stay well below."""


def cel(rule: str, message: str, path: str = "") -> Schema:
    """Return one validation rule; `path` (such as `.user`) is where the error is shown."""
    return {"rule": rule, "message": message} | ({"fieldPath": path} if path else {})


NOT_SYSTEM = cel("!self.startsWith('system:')", "must not start with system: (Kubernetes keeps these names for itself)")
_RELEASE = "(has({0}.helmRelease) && has({0}.helmRelease.name) ? {0}.helmRelease.name : '')"
SAME_RELEASE = cel(
    f"{_RELEASE.format('self')} == {_RELEASE.format('oldSelf')}",
    "the name of a release cannot change; make another virtual cluster",
    ".helmRelease",
)
ONE_OF_USER_TEAM = cel(
    "(has(self.user) && self.user != '') != (has(self.team) && self.team != '')", "set exactly one of user and team"
)
AT_MOST_ONE_OF_USER_TEAM = cel(
    "!(has(self.user) && self.user != '' && has(self.team) && self.team != '')", "set user or team, not both"
)


class Column(msgspec.Struct, frozen=True):
    """A column of `kubectl get`."""

    name: str
    type: str
    path: str
    description: str = ""
    priority: int = 0

    def printer(self) -> Schema:
        """Return it as CRDs spell it."""
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        return column | ({"priority": self.priority} if self.priority else {})


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One CRD; `chart` is the only chart that carries it."""

    kind: type[Kind]
    plural: str
    chart: str
    scope: str = "Cluster"
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    name_length_max: int = 253
    rules: dict[str, Schema] = {}
    """Path in the schema -> what is added there; `validations` are CEL rules."""
    selectable: tuple[str, ...] = ()
    """JSON paths that field selectors may use."""

    @property
    def name(self) -> str:
        """Name of the CRD object."""
        return f"{self.plural}.{GROUP}"


AGE = Column("Age", "date", ".metadata.creationTimestamp")
_OWNER = {
    "spec.owner": {"validations": [AT_MOST_ONE_OF_USER_TEAM]},
    "spec.owner.user": OBJECT_NAME,
    "spec.owner.team": OBJECT_NAME,
}
_ACCESS = {
    "spec.access": {"maxItems": 128},
    "spec.access[].name": LINE,
    "spec.access[].verbs": {"maxItems": 32},
    "spec.access[].verbs[]": {"maxLength": 64},
    "spec.access[].subresources": {"maxItems": 32},
    "spec.access[].subresources[]": {"maxLength": 64},
    "spec.access[].users": {"maxItems": 512},
    "spec.access[].users[]": GRANTEE,
    "spec.access[].teams": {"maxItems": 512},
    "spec.access[].teams[]": GRANTEE,
}
_PERSON = {
    "spec.displayName": LINE,
    "spec.description": TEXT,
    "spec.username": {"maxLength": 253, "validations": [NOT_SYSTEM]},
    "spec.groups": {"maxItems": 1024},
    "spec.groups[]": {"maxLength": 512},
    "spec.clusterRoles": {"maxItems": 64},
    "spec.clusterRoles[].name": ROLE_NAME,
}

USERS = Definition(
    kind=User,
    plural="users",
    chart="loft",
    name_length_max=PERSON_NAME_LENGTH_MAX,
    columns=(
        Column("Username", "string", ".spec.username"),
        Column("Email", "string", ".spec.email"),
        Column("Disabled", "boolean", ".spec.disabled"),
        AGE,
    ),
    rules=_PERSON
    | _OWNER
    | _ACCESS
    | {
        "spec.email": LINE,
        "spec.icon": {"maxLength": 65536},
        "spec.subject": {"maxLength": 1024},
        "spec.tokenGeneration": {"minimum": 0},
        "spec.passwordRef.secretName": OBJECT_NAME,
        "spec.passwordRef.secretNamespace": NAMESPACE_NAME,
        "spec.passwordRef.key": {"maxLength": 253},
        "status.teams": {"maxItems": 1024},
        "status.teams[]": LISTED_NAME,
    },
)
TEAMS = Definition(
    kind=Team,
    plural="teams",
    chart="loft",
    name_length_max=PERSON_NAME_LENGTH_MAX,
    columns=(Column("Display Name", "string", ".spec.displayName"), AGE),
    rules=_PERSON | _OWNER | _ACCESS | {"spec.users": {"maxItems": 4096}, "spec.users[]": LISTED_NAME},
)
ACCESS_KEYS = Definition(
    kind=AccessKey,
    plural="accesskeys",
    chart="loft",
    selectable=(".spec.user", ".spec.team"),
    columns=(
        Column("User", "string", ".spec.user"),
        Column("Team", "string", ".spec.team", priority=1),
        Column("Type", "string", ".spec.type"),
        Column("Disabled", "boolean", ".spec.disabled"),
        Column("Last Activity", "date", ".status.lastActivity"),
        AGE,
    ),
    rules={
        "": {"required": ["spec"]},
        "spec": {
            "required": ["keyHash"],
            "validations": [
                ONE_OF_USER_TEAM,
                cel("self.keyHash == oldSelf.keyHash", "keyHash cannot change; make a new access key", ".keyHash"),
                cel("has(self.user) == has(oldSelf.user) && (!has(self.user) || self.user == oldSelf.user)",
                    "the user of an access key cannot change", ".user"),
                cel("has(self.team) == has(oldSelf.team) && (!has(self.team) || self.team == oldSelf.team)",
                    "the team of an access key cannot change", ".team"),
            ],
        },
        "spec.keyHash": {"pattern": "^[0-9a-f]{64}$", "minLength": 64, "maxLength": 64},
        "spec.user": OBJECT_NAME,
        "spec.team": OBJECT_NAME,
        "spec.parent": {"maxLength": 253},
        "spec.displayName": LINE,
        "spec.ttl": {"minimum": 0},
        "spec.type": {"enum": ["", "User", "Login", "Reset", "OIDCRefreshToken"]},
        "spec.tokenGeneration": {"minimum": 0},
        "spec.scope.rules": {"maxItems": 128},
        "spec.scope.rules[].requestTargets[]": {"enum": ["Management", "Cluster", "VCluster"]},
        "spec.scope.rules[].cluster": {"maxLength": 253},
        "status.lastActivity": TIME,
    },
)  # fmt: skip
CLUSTERS = Definition(
    kind=Cluster,
    plural="clusters",
    chart="loft",
    name_length_max=63,
    columns=(
        Column("Display Name", "string", ".spec.displayName", priority=1),
        Column("Phase", "string", ".status.phase"),
        Column("Online", "boolean", ".status.online"),
        Column("Endpoint", "string", r".metadata.annotations.loft\.sh/direct-cluster-endpoint"),
        Column("Message", "string", ".status.message", priority=1),
        AGE,
    ),
    rules=_OWNER
    | _ACCESS
    | {
        "spec.displayName": LINE,
        "spec.description": TEXT,
        "spec.config.secretName": OBJECT_NAME,
        "spec.config.secretNamespace": NAMESPACE_NAME,
        "spec.config.key": {"maxLength": 253},
        "spec.managementNamespace": NAMESPACE_NAME,
        "status.phase": {"enum": ["", "Initialized", "Failed"]},
        "status.lastSeen": TIME,
    },
)
VIRTUAL_CLUSTERS = Definition(
    kind=VirtualCluster,
    plural="virtualclusters",
    chart="loft-agent",
    scope="Namespaced",
    short_names=("vcluster",),
    # The control plane is StatefulSet NAME, whose pods carry a label NAME-<10 characters> of at most 63; Helm's
    # release has the same name, and chart virtualcluster keeps room for what it makes names of.
    name_length_max=40,
    columns=(
        Column("Phase", "string", ".status.phase"),
        Column("Ready", "boolean", ".status.controlPlaneReady"),
        Column("Message", "string", ".status.message", priority=1),
        AGE,
    ),
    rules={
        "": {"validations": [cel("!self.metadata.name.contains('.')", "metadata.name must not contain dots")]},
        "spec.access.defaultClusterRole": ROLE_NAME,
        "spec.access.rules": {"maxItems": 128},
        "spec.access.rules[]": {
            "required": ["clusterRole"],
            "validations": [
                cel("(has(self.users) && size(self.users) > 0) || (has(self.teams) && size(self.teams) > 0)",
                    "name at least one user or team (* for everybody)"),
            ],
        },
        "spec.access.rules[].users": {"maxItems": 512},
        "spec.access.rules[].users[]": GRANTEE,
        "spec.access.rules[].teams": {"maxItems": 512},
        "spec.access.rules[].teams[]": GRANTEE,
        "spec.access.rules[].clusterRole": ROLE_NAME | {"minLength": 1},
        "spec": {"validations": [SAME_RELEASE]},
        "spec.helmRelease.name": {"maxLength": 40, "pattern": "^([a-z]([-a-z0-9]*[a-z0-9])?)?$"},
        "spec.helmRelease.chart.name": {"maxLength": 253},
        "spec.helmRelease.chart.repo": {"maxLength": 2048},
        "spec.helmRelease.chart.version": {"maxLength": 253},
        "spec.helmRelease.values": {"maxLength": VALUES_LENGTH_MAX},
        "spec.objects": {"maxLength": VALUES_LENGTH_MAX},
        "spec.pod.port": {"minimum": 1, "maximum": 65535},
        "spec.kubeConfigRef.secretName": OBJECT_NAME,
        "spec.kubeConfigRef.secretNamespace": NAMESPACE_NAME,
        "status.phase": {"enum": ["", "Pending", "Deployed", "Failed"]},
        "status.conditions": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        "status.conditions[].status": {"enum": ["True", "False", "Unknown"]},
        "status.conditions[].lastTransitionTime": TIME,
        "status.helmRelease.lastTransitionTime": TIME,
    },
)  # fmt: skip

DEFINITIONS = (USERS, TEAMS, ACCESS_KEYS, CLUSTERS, VIRTUAL_CLUSTERS)


def crd_schema(definition: Definition) -> Schema:
    """Return the structural schema with all rules applied."""
    schema = schema_of(definition.kind)
    schema["required"] = ["metadata"]
    _add(schema, _name_rules(definition))
    for path, extra in definition.rules.items():
        _add(at(schema, path), extra)
    return schema


def custom_resource_definition(definition: Definition) -> dict[str, Any]:
    """Return the CustomResourceDefinition object."""
    kind = definition.kind.__name__
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": crd_schema(definition)},
        "additionalPrinterColumns": [column.printer() for column in definition.columns],
    }
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    names: dict[str, Any] = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": definition.plural,
        "singular": kind.lower(),
    }
    if definition.short_names:
        names["shortNames"] = list(definition.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": {"group": GROUP, "names": names, "scope": definition.scope, "versions": [version]},
    }


def render(definition: Definition) -> str:
    """Return the CRD as the YAML file that the chart carries."""
    document = yaml.safe_dump(custom_resource_definition(definition), sort_keys=False, width=110, allow_unicode=True)
    return f"# Generated from src/loft/api by tools/gen_crds.py; change the types, then run it.\n{document}"


def _name_rules(definition: Definition) -> Schema:
    if definition.name_length_max >= 253:
        return {}
    message = f"metadata.name must not be longer than {definition.name_length_max} characters"
    return {"validations": [cel(f"size(self.metadata.name) <= {definition.name_length_max}", message)]}


def _add(schema: Schema, extra: Schema) -> None:
    for key, value in extra.items():
        if key == "validations":
            schema.setdefault("x-kubernetes-validations", []).extend(copy.deepcopy(value))
        else:
            schema[key] = copy.deepcopy(value)
