"""Where an API server is and how to prove who asks: from kubeconfig files, or from inside a pod.

A kubeconfig is trusted when it is the user's own, and hostile when somebody uploads it (it can name files
and programs of the machine that reads it): `inline_only` refuses everything but data, by name. Imports
neither asyncio nor an HTTP library, for the CLI.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from loft.kube import kubeconfig as kc

SIZE_MAX = 4 * 1024 * 1024
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(ValueError):
    """A kubeconfig, or the environment, cannot be used; the message says what and where."""


class ExecPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A program that prints credentials (client.authentication.k8s.io/v1 or v1beta1)."""

    command: str
    """Looked up on PATH unless it has a slash."""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    provide_cluster_info: bool = False


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """One API server and one identity. PEM data is bytes; empty means not given."""

    server: str
    """URL: scheme, host, port, and maybe a path under which the API is served; no trailing slash."""
    ca_data: bytes = b""
    """Trusted authorities; empty means those of the operating system."""
    client_cert: bytes = b""
    client_key: bytes = b""
    token: str = ""
    token_file: str = ""
    """Read again when it changes; wins over `token`."""
    exec_: ExecPlugin | None = None
    insecure: bool = False
    """Do not verify the server's certificate."""
    tls_server_name: str = ""
    namespace: str = ""
    """Default namespace of the context; "" when none is given."""
    proxy_url: str = ""
    """http:// or https:// proxy, reached with CONNECT."""
    impersonate_user: str = ""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()
    impersonate_extra: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        # Keys and tokens must not reach a log by way of a traceback or an f-string.
        return f"Endpoint(server={self.server!r})"


def load_kubeconfig(path: str | None = None, context: str | None = None) -> Endpoint:
    """Return the endpoint of a context (None: the current one), by kubectl's rules for files.

    `path` alone is read when given; else the files of $KUBECONFIG merged (the first that names something wins,
    missing files are skipped); else ~/.kube/config.
    Raises: ConfigError.
    """
    if path is not None:
        files = [Path(path)]
    elif value := os.environ.get("KUBECONFIG"):
        files = list(dict.fromkeys(Path(item) for item in value.split(os.pathsep) if item))
    else:
        files = [Path.home() / ".kube" / "config"]
    parts = [_read(file) for file in files if path is not None or file.exists()]
    if not parts:
        raise ConfigError(f"no kubeconfig: {', '.join(map(str, files))} not found")
    return _endpoint(kc.merge(parts), context, _from_file)


def parse_kubeconfig(data: bytes, context: str | None = None, *, inline_only: bool = False) -> Endpoint:
    """Return the endpoint of a context of one kubeconfig given as text.

    With `inline_only`, whatever would make this machine read a file, run a program, go through a proxy or act for
    somebody else is refused by name. Without, file names are relative to the working directory.
    Raises: ConfigError.
    """
    return _endpoint(_parse(data, Path(), "kubeconfig"), context, _refuse_file if inline_only else _from_file)


def in_cluster(root: Path = SERVICE_ACCOUNT, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Return the endpoint of the cluster whose pod this process runs in, with the pod's service account.

    Raises: ConfigError outside a pod.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token = root / "token"
    if not host or not port or not token.exists():
        raise ConfigError(f"not in a pod: KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT or {token} is missing")
    try:
        authorities = (root / "ca.crt").read_bytes()
        namespace = (root / "namespace").read_text().strip()
    except OSError as error:
        raise ConfigError(f"the service account of this pod cannot be read: {error}") from error
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Endpoint(server=server, ca_data=authorities, token_file=str(token), namespace=namespace)


def from_environment() -> Endpoint:
    """Return the endpoint of $KUBECONFIG when it is set, else of the pod this process runs in.

    Raises: ConfigError when there is neither.
    """
    if os.environ.get("KUBECONFIG"):
        return load_kubeconfig()
    return in_cluster()


def to_kubeconfig(endpoint: Endpoint, name: str) -> bytes:
    """Return a kubeconfig with one context `name`; JSON, which every YAML reader accepts. Holds the secrets inline.

    Raises: ConfigError when the endpoint has a part that would only work on this machine (a token file).
    """
    if endpoint.token_file and not endpoint.token:
        raise ConfigError("a token file cannot be written into a kubeconfig for elsewhere")
    return msgspec.json.encode(kc.render(endpoint, name))


def _read(file: Path) -> kc.Config:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"kubeconfig {file} cannot be read: {error.strerror}") from error
    return _parse(data, file.parent, str(file))


def _parse(data: bytes, directory: Path, name: str) -> kc.Config:
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{name} is larger than {SIZE_MAX} bytes")
    try:
        return kc.parse(data, directory)
    except ValueError as error:
        raise ConfigError(f"{name} is not a kubeconfig: {error}") from error


FileReader = Callable[[str, str], bytes]
"""(field, path) -> content; raises ConfigError."""


def _from_file(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{field} {path} cannot be read: {error.strerror}") from error


def _refuse_file(field: str, path: str) -> bytes:
    raise ConfigError(f"{field} names a file ({path}); give its content in {field}-data instead")


def _endpoint(config: kc.Config, context: str | None, read: FileReader) -> Endpoint:
    """Choose the context and put its cluster and user together."""
    name = context if context is not None else config.current_context
    if not name:
        raise ConfigError("the kubeconfig has no current context; name one")
    chosen = config.find("context", name)
    cluster = config.find("cluster", chosen.cluster) if chosen else None
    if chosen is None or cluster is None:
        what = f"no context {name!r}" if chosen is None else f"no cluster {chosen.cluster!r} (context {name!r})"
        raise ConfigError(f"the kubeconfig has {what}")
    user = config.find("user", chosen.user) if chosen.user else kc.User()
    if user is None:
        raise ConfigError(f"the kubeconfig has no user {chosen.user!r} (context {name!r})")
    _refuse_unsupported(cluster, user, inline_only=read is _refuse_file)
    cert = _pem("client-certificate", user.client_certificate_data, user.client_certificate, read)
    key = _pem("client-key", user.client_key_data, user.client_key, read)
    if bool(cert) != bool(key):
        raise ConfigError("client-certificate and client-key must be given together")
    authorities = _pem("certificate-authority", cluster.certificate_authority_data, cluster.certificate_authority, read)
    return Endpoint(
        server=_server(cluster.server),
        ca_data=b"" if cluster.insecure_skip_tls_verify else authorities,
        client_cert=cert,
        client_key=key,
        token=user.token.strip(),
        token_file=user.token_file,
        exec_=_exec(user),
        insecure=cluster.insecure_skip_tls_verify,
        tls_server_name=cluster.tls_server_name,
        namespace=chosen.namespace,
        proxy_url=cluster.proxy_url,
        impersonate_user=user.impersonate,
        impersonate_uid=user.impersonate_uid,
        impersonate_groups=tuple(user.impersonate_groups),
        impersonate_extra=tuple((key, item) for key, values in user.impersonate_extra.items() for item in values),
    )


def _refuse_unsupported(cluster: kc.Cluster, user: kc.User, *, inline_only: bool) -> None:
    if user.auth_provider:
        raise ConfigError("auth-provider is not supported (removed from Kubernetes in 1.26); use a token or exec")
    if user.username or user.password:
        raise ConfigError("username and password are not supported (removed from Kubernetes in 1.19)")
    if cluster.proxy_url and urlsplit(cluster.proxy_url).scheme not in ("http", "https"):
        raise ConfigError(f"proxy-url {cluster.proxy_url!r} is not supported; only http:// and https:// are")
    if not inline_only:
        return
    for field, given in (
        ("exec", user.exec),
        ("tokenFile", user.token_file),
        ("proxy-url", cluster.proxy_url),
        ("as", user.impersonate),
        ("as-uid", user.impersonate_uid),
        ("as-groups", user.impersonate_groups),
        ("as-user-extra", user.impersonate_extra),
    ):
        if given:
            raise ConfigError(f"{field} is refused here: only certificates and tokens given inline can be used")


def _exec(user: kc.User) -> ExecPlugin | None:
    plugin = user.exec
    if plugin is None:
        return None
    known = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
    if plugin.api_version not in known:
        raise ConfigError(f"exec.apiVersion {plugin.api_version!r} is not supported; {' and '.join(known)} are")
    if plugin.interactive_mode == "Always":
        raise ConfigError("exec.interactiveMode Always is not supported: there is no terminal to ask on")
    if not plugin.command:
        raise ConfigError("exec.command is empty")
    return ExecPlugin(
        command=plugin.command,
        args=tuple(plugin.args or ()),
        env=tuple((item.name, item.value) for item in plugin.env or ()),
        api_version=plugin.api_version,
        install_hint=plugin.install_hint,
        provide_cluster_info=plugin.provide_cluster_info,
    )


def _pem(field: str, data: str, path: str, read: FileReader) -> bytes:
    """Return inline data (base64), which wins over a file as in client-go, or the file's content."""
    if data:
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{field}-data is not base64") from error
    return read(field, path) if path else b""


def _server(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(char.isspace() or ord(char) < 0x20 for char in url):
        raise ConfigError(f"server {url!r} is not an http:// or https:// URL")
    return url.rstrip("/")
