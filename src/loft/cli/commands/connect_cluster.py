"""`loft connect cluster`: make a Kubernetes cluster part of the platform by its kubeconfig."""

from __future__ import annotations

from typing import Any

import click
import yaml

from loft.cli import exitcode, kubeconfig, names
from loft.cli.app import Session
from loft.cli.failure import Failure
from loft.cli.platform_api import connect


def minimal(document: kubeconfig.Document, context: str) -> kubeconfig.Document:
    """Return a kubeconfig with one context and inline data only.

    Raises: Failure naming the part that refers to a file, a program or a provider: those work on this
    machine only, and the centre must not be told to read files or run programs.
    """
    name = context or str(document.get("current-context") or "")
    chosen = _entry(document, "contexts", name, "context")
    cluster = _entry(document, "clusters", str(chosen.get("cluster")), "cluster")
    user = _entry(document, "users", str(chosen.get("user")), "user")
    for part, fields in (
        (cluster, ("certificate-authority",)),
        (user, ("client-certificate", "client-key", "tokenFile")),
    ):
        for field in fields:
            if field in part:
                inline = "token" if field == "tokenFile" else f"{field}-data"
                raise Failure(
                    f"the kubeconfig refers to a file by {field}; put its content there as {inline}",
                    exitcode.USAGE,
                )
    for field in ("exec", "auth-provider"):
        if field in user:
            raise Failure(
                f"the kubeconfig gets its credential by {field}, which works on this machine only; "
                "make a ServiceAccount with cluster-admin and use a kubeconfig with its token",
                exitcode.USAGE,
            )
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "user"}}],
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
    }


def _entry(document: kubeconfig.Document, section: str, name: str, key: str) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if entry.get("name") == name and isinstance(entry.get(key), dict):
            return dict(entry[key])
    raise Failure(f"the kubeconfig has no {key} {name!r}", exitcode.NOT_FOUND)


HINTS = {
    "Unreachable": "; the central instance must reach that server, and trust it by certificate-authority-data",
    "Unauthorized": "; use a kubeconfig whose credential the cluster accepts (kubectl auth whoami)",
}
"""What to do, by the reason that the central instance gives."""


@click.command()
@click.argument("name", type=names.CLUSTER)
@click.option(
    "--kubeconfig",
    "file",
    type=click.Path(exists=True, dir_okay=False),
    required=True,
    help="The cluster's kubeconfig.",
)
@click.option("--context", default="", help="Context in that file (default: its current one).")
@click.option("--display-name", default="", help="Name to show in the UI.")
@click.pass_obj
def command(session: Session, /, name: str, file: str, context: str, display_name: str) -> None:
    """Connect the cluster NAME: its kubeconfig is used once, to install the agent, and not kept."""
    state, messages = session.state, session.messages
    api = connect(state)
    config = yaml.safe_dump(minimal(kubeconfig.read(file), context))
    if any(cluster["metadata"]["name"] == name for cluster in api.clusters()):
        raise Failure(f"a cluster {name} is connected already; choose another name", exitcode.CONFLICT)
    messages.info(f"Installing the agent in cluster {name}...")
    body = {
        "apiVersion": "management.loft.sh/v1",
        "kind": "ClusterConnect",
        "metadata": {"name": name},
        "spec": {"config": config, "displayName": display_name},
    }
    status = api.management("POST", "clusterconnects", body).get("status") or {}
    if status.get("failed"):
        why = " ".join(str(status.get("message") or status.get("reason")).split())
        raise Failure(f"cluster {name} could not be connected: {why}{HINTS.get(str(status.get('reason')), '')}")
    messages.done(f"Successfully connected cluster {name}")
    messages.info(f"Use it with: loft use cluster {name}")
