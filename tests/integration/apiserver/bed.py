"""Our aggregated API servers behind a real API server: CRDs from the charts, APIServices, RBAC, kubectl for people."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import secrets
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from integration.api_server import ApiServer, binary
from integration.apiserver.front import Front
from loft.api.management import ClusterConnect, ClusterConnectStatus
from loft.apiserver.app import ApiServer as Application
from loft.apiserver.authorize import Reviewer
from loft.apiserver.caller import Caller
from loft.apiserver.listener import open_socket, serve
from loft.apiserver.trust import Authority, Trust, follow_requestheader
from loft.cluster.group import cluster_group
from loft.cluster.keeping import keep_owners
from loft.cluster.tenants import Tenants
from loft.core.resource import VIRTUALCLUSTERS
from loft.identity.endpointtoken import sign
from loft.kube.client import Client
from loft.kube.config import to_kubeconfig
from loft.kube.informer import Informer
from loft.management.group import Deployment, management_group
from loft.pki.authority import KeyPair, issue, new_authority

ROOT = Path(__file__).parents[3]
NAMESPACE = "loft"
GROUPS = {"cluster": "cluster.loft.sh", "management": "management.loft.sh"}

# The rights that the charts give to the two service accounts; the servers under test have these and no others.
SERVER_RULES = [
    {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    {"apiGroups": ["storage.loft.sh"], "resources": ["*"], "verbs": ["*"]},
    {
        "apiGroups": [""],
        "resources": ["namespaces"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["rolebindings"],
        "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"],
    },
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "verbs": ["bind"],
        "resourceNames": ["loft-cluster-space-admin"],
    },
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
]
MEMBER_RULES = [
    {
        "apiGroups": ["cluster.loft.sh"],
        "resources": ["spaces"],
        "verbs": ["get", "list", "watch", "update", "patch", "delete"],
    },
    {
        "apiGroups": ["cluster.loft.sh"],
        "resources": ["virtualclusters"],
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
    },
    {"apiGroups": ["cluster.loft.sh"], "resources": ["virtualclusterclaims"], "verbs": ["create"]},
]
SPACE_ADMIN_RULES = [
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "delete"]},
    {"apiGroups": [""], "resources": ["configmaps", "secrets", "pods"], "verbs": ["*"]},
    {"apiGroups": ["storage.loft.sh", "cluster.loft.sh"], "resources": ["virtualclusters"], "verbs": ["*"]},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings", "roles"], "verbs": ["*"]},
]


def role(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": rules,
    }


def binding(name: str, role_name: str, kind: str, subject: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject}],
    }


def manifests(ports: dict[str, int], authority: bytes) -> list[dict[str, Any]]:
    """What the charts install around the servers."""
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        role("loft-server", SERVER_RULES),
        binding("loft-server", "loft-server", "User", "loft-server"),
        role("loft-cluster-member", MEMBER_RULES),
        binding("loft-cluster-member", "loft-cluster-member", "Group", "system:authenticated"),
        role("loft-cluster-space-admin", SPACE_ADMIN_RULES),
        role(
            "loft-cluster-space-create",
            [{"apiGroups": ["cluster.loft.sh"], "resources": ["spaces"], "verbs": ["create"]}],
        ),
        binding("loft-cluster-space-create", "loft-cluster-space-create", "Group", "loft:team:makers"),
        role(
            "loft-management-admin",
            [{"apiGroups": ["management.loft.sh"], "resources": ["*"], "verbs": ["*"]}],
        ),
        binding("loft-management-admin", "loft-management-admin", "Group", "loft:team:loft-admins"),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "loft-secrets", "namespace": NAMESPACE},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "update"]}],
        },
        *(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"loft-server-{name}", "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "loft-server"}],
            }
            for name, namespace in (
                ("loft-secrets", NAMESPACE),
                ("extension-apiserver-authentication-reader", "kube-system"),
            )
        ),
    ]
    for name, port in ports.items():
        service = {"name": f"loft-{name}", "namespace": NAMESPACE}
        objects += [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": service,
                "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"v1.{GROUPS[name]}"},
                "spec": {
                    "group": GROUPS[name],
                    "version": "v1",
                    "groupPriorityMinimum": 500,
                    "versionPriority": 10,
                    "service": service | {"port": port},
                    "caBundle": base64.b64encode(authority).decode(),
                },
            },
        ]
    return objects


class Bed:
    """One API server with both of our groups; `kubectl` runs as anybody."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        now = datetime.now(UTC)
        self.authority = new_authority("loft-ca", now)
        self.front_proxy_authority = new_authority("loft-front-proxy-ca", now)
        self.gateway = issue(self.front_proxy_authority, common_name="loft-gateway", usage="client", now=now)
        self.sockets = {name: open_socket("127.0.0.1", 0) for name in GROUPS}
        self.ports = {name: sock.getsockname()[1] for name, sock in self.sockets.items()}
        self.connected: list[tuple[ClusterConnect, Caller]] = []
        self.signing_key, self.verifying_key = _signing_pair()
        self._now = now
        self._kubeconfigs: dict[str, Path] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="aggregated", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        for chart in ("loft", "loft-agent"):
            self.kubectl("apply", "--server-side", "-f", str(ROOT / "charts" / chart / "crds"))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        self.apply(*manifests(self.ports, self.authority.cert))
        self._thread.start()
        assert self._ready.wait(30), self._failure
        for group in GROUPS.values():
            self.kubectl("wait", "--for=condition=Available", f"apiservice/v1.{group}", "--timeout=60s")

    def stop(self) -> None:
        if self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(20)
        for sock in self.sockets.values():
            sock.close()
        self._loop.close()

    def apply(self, *objects: dict[str, Any]) -> None:
        text = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def kubectl(
        self,
        *args: str,
        user: str = "",
        teams: Sequence[str] = (),
        stdin: str | None = None,
        ok: bool = True,
        env: dict[str, str] | None = None,
    ) -> str:
        """Run kubectl as an administrator, or as a user of the platform; return what it prints (both streams)."""
        result = subprocess.run(
            self.command(*args, user=user, teams=teams),
            executable=binary(),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            env=self.environment(env),
        )
        assert (result.returncode == 0) == ok or (result.returncode == 1 and args[0] == "diff"), (
            f"kubectl {' '.join(args)} -> {result.returncode}\n{result.stdout}"
        )
        return result.stdout

    def command(self, *args: str, user: str = "", teams: Sequence[str] = ()) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig(user, teams)}", *args]

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder)} | (extra or {})

    def get(self, *args: str, **options: Any) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", *args, "-o", "json", **options)))

    def kubeconfig(self, user: str, teams: Sequence[str]) -> Path:
        if not user:
            return self.server.kubeconfig
        key = "-".join([user, *teams])
        if key not in self._kubeconfigs:
            groups = (f"loft:user:{user}", *(f"loft:team:{team}" for team in teams))
            endpoint = self.server.endpoint_for(f"loft:user:{user}", groups)
            path = self.folder / f"{key}.kubeconfig"
            path.write_bytes(to_kubeconfig(endpoint, "test"))
            self._kubeconfigs[key] = path
        return self._kubeconfigs[key]

    # Talking to our servers themselves, as the gateway does or as an attacker would

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        certificate: KeyPair | None = None,
        server: str = "management",
        content_type: str = "application/json",
    ) -> tuple[int, Any]:
        """Send a request straight to one of our servers; returns (status, decoded answer)."""
        context = ssl.create_default_context(cadata=self.authority.cert.decode())
        if certificate is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate.cert + certificate.key)
                file.flush()
                context.load_cert_chain(file.name)
        connection = http.client.HTTPSConnection("localhost", self.ports[server], context=context, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path)
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            sent = [("Content-Length", str(len(data))), *headers]
            if content_type:
                sent.insert(0, ("Content-Type", content_type))
            for name, value in sent:
                connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def as_user(
        self, user: str, method: str, path: str, body: Any = None, *, teams: Sequence[str] = (), key: str = ""
    ) -> tuple[int, Any]:
        """Send a request to the management server as the gateway does for a user."""
        headers = [("X-Remote-User", f"loft:user:{user}"), ("X-Remote-Group", f"loft:user:{user}")]
        headers += [("X-Remote-Group", f"loft:team:{team}") for team in teams]
        headers += [("X-Remote-Group", "system:authenticated")]
        if key:
            headers.append(("X-Remote-Extra-Loft-Key", key))
        path = f"/apis/management.loft.sh/v1/{path}"
        return self.call(method, path, body, headers=headers, certificate=self.gateway)

    @contextlib.contextmanager
    def front(self, user: str, teams: Sequence[str] = ()) -> Iterator[Callable[..., str]]:
        """Yield kubectl for a user who reaches the management server through a gateway."""
        front = Front(self.ports["management"], self.authority.cert, self.gateway, user, tuple(teams))

        def kubectl(*args: str, stdin: str | None = None, ok: bool = True, env: dict[str, str] | None = None) -> str:
            cache = f"--cache-dir={self.folder / 'cache' / user}"
            result = subprocess.run(
                ["kubectl", f"--server={front.url}", cache, *args],
                executable=binary(),
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                env=self.environment(env),
            )
            assert (result.returncode == 0) == ok, f"kubectl {' '.join(args)} -> {result.returncode}\n{result.stdout}"
            return result.stdout

        try:
            yield kubectl
        finally:
            front.close()

    # The servers

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._serve())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _connect(self, wish: ClusterConnect, caller: Caller) -> ClusterConnectStatus:
        self.connected.append((wish, caller))
        return ClusterConnectStatus()

    async def _serve(self) -> None:
        endpoint = self.server.endpoint_for("loft-server")
        async with Client(endpoint) as client, asyncio.TaskGroup() as tasks:
            reviewer = Reviewer(client)
            tenants = Tenants(client)
            tasks.create_task(tenants.run())
            tasks.create_task(keep_owners(client, tenants))
            deployment = Deployment(
                client=client,
                reviewer=reviewer,
                namespace=NAMESPACE,
                sign=lambda token, now: sign(token, self.signing_key, now),
                connect=self._connect,
                random=secrets.token_bytes,
            )
            clusters = Informer(client, VIRTUALCLUSTERS)
            tasks.create_task(clusters.run())
            await clusters.synced()
            groups = {
                "cluster": cluster_group(client, reviewer, tenants, clusters),
                "management": management_group(deployment),
            }
            for name, group in groups.items():
                certificate = issue(
                    self.authority,
                    common_name=f"loft-{name}",
                    dns=(f"loft-{name}.{NAMESPACE}.svc", "localhost"),
                    usage="server",
                    now=self._now,
                )
                own = Authority(
                    name="gateway", ca=self.front_proxy_authority.cert, allowed_names=("loft-gateway",), ours_only=True
                )
                trust = Trust(certificate, (own,))
                tasks.create_task(follow_requestheader(client, trust))
                application = Application((group,), version="0.1.0")
                tasks.create_task(serve(application, self.sockets[name], trust))
            await tenants.synced()
            self._ready.set()


def _signing_pair() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public
