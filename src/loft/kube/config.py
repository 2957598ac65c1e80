"""Where an API server is and how to prove who one is: kubeconfig files, pods, exec plugins.

Source: kubernetes.io, "Organizing Cluster Access Using kubeconfig Files" and "client-go credential plugins".
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import msgspec
import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which part and what to do."""


class ExecPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A program that prints an ExecCredential."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An API server and a credential for it; certificates and keys are PEM."""

    server: str
    ca_data: bytes = b""
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""
    exec_: ExecPlugin | None = None
    insecure: bool = False
    tls_server_name: str = ""
    namespace: str = "default"
    impersonate_user: str = ""
    impersonate_groups: tuple[str, ...] = ()


def load_kubeconfig(path: str | None = None, context: str | None = None) -> Endpoint:
    """Read a kubeconfig by kubectl's rules: the path, else $KUBECONFIG (first file that exists), else ~/.kube/config.

    Raises: ConfigError.
    """
    listed = [path] if path else [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    files = [Path(part) for part in listed or [os.path.expanduser("~/.kube/config")]]
    for file in files:
        if file.exists():
            return parse_kubeconfig(file.read_bytes(), context, folder=file.parent)
    raise ConfigError(f"no kubeconfig: {', '.join(map(str, files))} is missing")


def parse_kubeconfig(
    data: bytes, context: str | None = None, *, inline_only: bool = False, folder: Path | None = None
) -> Endpoint:
    """Return the endpoint of a context (the current one by default).

    Args:
        data: the file's content.
        context: name of the context.
        inline_only: refuse everything that would read a file or run a program here; for kubeconfigs of others.
        folder: what relative file names refer to.

    Raises: ConfigError naming the part at fault.
    """
    try:
        document = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ConfigError(f"the kubeconfig is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError("the kubeconfig is not a mapping")
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", name, "context")
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), "cluster")
    user = _entry(document, "users", chosen["user"], "user") if chosen.get("user") else {}
    if inline_only:
        _refuse_local(cluster, user)
    reader = _Reader(folder or Path.cwd())
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise ConfigError(f"cluster.server {server!r} is not a URL")
    return Endpoint(
        server=server.rstrip("/"),
        ca_data=reader.data(cluster, "certificate-authority"),
        client_cert=reader.data(user, "client-certificate"),
        client_key=reader.data(user, "client-key"),
        token=str(user.get("token") or ""),
        token_file=str(user.get("tokenFile") or ""),
        exec_=_exec(user.get("exec")),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        namespace=str(chosen.get("namespace") or "default"),
        impersonate_user=str(user.get("as") or ""),
        impersonate_groups=tuple(user.get("as-groups") or ()),
    )


def _entry(document: dict[str, Any], section: str, name: str, key: str) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: dict[str, Any] = entry[key]
            return found
    raise ConfigError(f"the kubeconfig has no {key} {name!r}")


def _refuse_local(cluster: dict[str, Any], user: dict[str, Any]) -> None:
    for part, fields in (
        (cluster, ("certificate-authority", "proxy-url")),
        (user, ("client-certificate", "client-key", "tokenFile", "exec", "auth-provider")),
    ):
        for field in fields:
            if part.get(field):
                raise ConfigError(
                    f"{field} is not accepted: put certificates, keys and tokens into the kubeconfig itself"
                )


class _Reader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def data(self, part: dict[str, Any], field: str) -> bytes:
        inline = part.get(f"{field}-data")
        if inline:
            try:
                return base64.b64decode(inline, validate=True)
            except ValueError as error:
                raise ConfigError(f"{field}-data is not base64") from error
        if part.get(field):
            try:
                return (self._folder / str(part[field])).read_bytes()
            except OSError as error:
                raise ConfigError(f"{field}: {error}") from error
        return b""


def _exec(spec: Any) -> ExecPlugin | None:
    if not spec:
        return None
    version = str(spec.get("apiVersion") or "")
    if version not in ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"):
        raise ConfigError(f"exec apiVersion {version!r} is not supported")
    env = tuple((item["name"], item["value"]) for item in spec.get("env") or [])
    return ExecPlugin(api_version=version, command=spec["command"], args=tuple(spec.get("args") or ()), env=env)


def in_cluster() -> Endpoint:
    """Return the endpoint of the pod we run in.

    Raises: ConfigError outside of a pod.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (SERVICE_ACCOUNT / "token").exists():
        raise ConfigError("not in a pod: KUBERNETES_SERVICE_HOST or the service account token is missing")
    host = f"[{host}]" if ":" in host else host
    namespace = SERVICE_ACCOUNT / "namespace"
    return Endpoint(
        server=f"https://{host}:{port}",
        ca_data=(SERVICE_ACCOUNT / "ca.crt").read_bytes(),
        token_file=str(SERVICE_ACCOUNT / "token"),
        namespace=namespace.read_text() if namespace.exists() else "default",
    )


def from_environment() -> Endpoint:
    """Return the endpoint named by $KUBECONFIG, else that of the pod we run in."""
    return load_kubeconfig() if os.environ.get("KUBECONFIG") else in_cluster()


def to_kubeconfig(endpoint: Endpoint, name: str) -> bytes:
    """Return a kubeconfig with one context and inline data."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    cluster: dict[str, Any] = {"server": endpoint.server}
    if endpoint.ca_data:
        cluster["certificate-authority-data"] = text(endpoint.ca_data)
    if endpoint.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if endpoint.tls_server_name:
        cluster["tls-server-name"] = endpoint.tls_server_name
    user: dict[str, Any] = {}
    if endpoint.client_cert:
        user |= {"client-certificate-data": text(endpoint.client_cert), "client-key-data": text(endpoint.client_key)}
    if endpoint.token:
        user["token"] = endpoint.token
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": endpoint.namespace}}],
        "users": [{"name": name, "user": user}],
    }
    return yaml.safe_dump(document, sort_keys=False).encode()
