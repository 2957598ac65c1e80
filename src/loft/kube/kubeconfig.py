"""The kubeconfig file format: its fields, merging of several files, and writing one.

Only the format; what of it is usable is decided in loft.kube.config.
Source: kubernetes.io/docs/reference/config-api/kubeconfig.v1 and "Organizing Cluster Access".
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import msgspec

from loft.core import yamltext

if TYPE_CHECKING:
    from loft.kube.config import Endpoint, ExecPlugin


class _Entry(msgspec.Struct, rename="kebab", omit_defaults=True):
    """Unknown fields (extensions, newer fields) are skipped."""


class Cluster(_Entry):
    """A server and how to verify it."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class EnvVar(_Entry):
    """A variable added to the environment of an exec plugin."""

    name: str
    value: str = ""


class Exec(_Entry, rename="camel"):
    """How to call a credential plugin."""

    command: str = ""
    api_version: str = ""
    args: list[str] | None = None
    env: list[EnvVar] | None = None
    interactive_mode: str = ""
    install_hint: str = ""
    provide_cluster_info: bool = False


class User(_Entry):
    """Credentials; several kinds may be given at once."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: Exec | None = None
    auth_provider: Any = None
    impersonate: str = msgspec.field(default="", name="as")
    impersonate_uid: str = msgspec.field(default="", name="as-uid")
    impersonate_groups: list[str] = msgspec.field(default_factory=list, name="as-groups")
    impersonate_extra: dict[str, list[str]] = msgspec.field(default_factory=dict, name="as-user-extra")


class Context(_Entry):
    """A cluster, a user and a default namespace, by name."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(_Entry):
    name: str
    cluster: Cluster | None = None


class _NamedUser(_Entry):
    name: str
    user: User | None = None


class _NamedContext(_Entry):
    name: str
    context: Context | None = None


class Config(_Entry):
    """A whole file, or several merged ones."""

    api_version: str = msgspec.field(default="v1", name="apiVersion")
    kind: str = "Config"
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None

    @overload
    def find(self, what: Literal["cluster"], name: str) -> Cluster | None: ...
    @overload
    def find(self, what: Literal["user"], name: str) -> User | None: ...
    @overload
    def find(self, what: Literal["context"], name: str) -> Context | None: ...
    def find(self, what: str, name: str) -> Cluster | User | Context | None:
        """Return the first entry of that name."""
        entries: Iterable[Any] = getattr(self, f"{what}s") or ()
        for entry in entries:
            if entry.name == name:
                found: Cluster | User | Context | None = getattr(entry, what)
                return found
        return None


def parse(data: bytes, directory: Path) -> Config:
    """Read a file; relative file names in it are relative to `directory`, the one of the file.

    Raises: ValueError for what is not YAML or has a field of the wrong type.
    """
    try:
        tree = yamltext.load(data, aliases=True)
        config = msgspec.convert({} if tree is None else tree, Config)
    except yamltext.NotYaml as error:
        raise ValueError(f"not YAML: {error}") from error
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if config.kind != "Config" or config.api_version != "v1":
        raise ValueError(f"it is {config.kind} {config.api_version}, not Config v1")
    _resolve(config, directory)
    return config


def merge(parts: Sequence[Config]) -> Config:
    """Merge files: of entries with one name the first wins, and so does the first current context."""
    return Config(
        current_context=next((part.current_context for part in parts if part.current_context), ""),
        clusters=[entry for part in parts for entry in part.clusters or ()],
        users=[entry for part in parts for entry in part.users or ()],
        contexts=[entry for part in parts for entry in part.contexts or ()],
    )


def render(endpoint: Endpoint, name: str) -> Config:
    """Return a file with one cluster, user and context, all called `name`; secrets are inline."""
    extra: dict[str, list[str]] = {}
    for key, value in endpoint.impersonate_extra:
        extra.setdefault(key, []).append(value)
    user = User(
        client_certificate_data=_text(endpoint.client_cert),
        client_key_data=_text(endpoint.client_key),
        token=endpoint.token,
        impersonate=endpoint.impersonate_user,
        impersonate_uid=endpoint.impersonate_uid,
        impersonate_groups=list(endpoint.impersonate_groups),
        impersonate_extra=extra,
        exec=_exec(endpoint.exec_) if endpoint.exec_ else None,
    )
    cluster = Cluster(
        server=endpoint.server,
        certificate_authority_data=_text(endpoint.ca_data),
        insecure_skip_tls_verify=endpoint.insecure,
        tls_server_name=endpoint.tls_server_name,
        proxy_url=endpoint.proxy_url,
    )
    return Config(
        current_context=name,
        clusters=[_NamedCluster(name=name, cluster=cluster)],
        users=[_NamedUser(name=name, user=user)],
        contexts=[_NamedContext(name=name, context=Context(cluster=name, user=name, namespace=endpoint.namespace))],
    )


def _exec(plugin: ExecPlugin) -> Exec:
    return Exec(
        command=plugin.command,
        api_version=plugin.api_version,
        args=list(plugin.args),
        env=[EnvVar(name=key, value=value) for key, value in plugin.env],
        # v1 requires the field; the plugin is never given a terminal here.
        interactive_mode="Never",
        install_hint=plugin.install_hint,
        provide_cluster_info=plugin.provide_cluster_info,
    )


def _resolve(config: Config, directory: Path) -> None:
    for entry in config.clusters or ():
        if entry.cluster:
            entry.cluster.certificate_authority = _absolute(entry.cluster.certificate_authority, directory)
    for named in config.users or ():
        user = named.user
        if user is None:
            continue
        user.client_certificate = _absolute(user.client_certificate, directory)
        user.client_key = _absolute(user.client_key, directory)
        user.token_file = _absolute(user.token_file, directory)
        # A bare command is found on PATH; one with a slash is relative to the file, as in client-go.
        if user.exec and "/" in user.exec.command:
            user.exec.command = _absolute(user.exec.command, directory)


def _absolute(path: str, directory: Path) -> str:
    return str(directory / path) if path else ""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
