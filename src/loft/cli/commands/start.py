"""`loft start`: a real Kubernetes on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from loft.cli import local
from loft.cli.app import Session

KUBECTL = Path("/usr/local/bin/kubectl")


@click.command()
@click.option("--name", default="", help="Name of the cluster; others than the first have a network of their own.")
@click.pass_obj
def command(session: Session, /, name: str) -> None:
    """Start a cluster on this machine; repeat it at any moment."""
    local.need_root()
    from loft.embedded import run
    from loft.embedded.layout import MAIN_CLUSTER

    messages = session.messages
    with local.failures():
        layout = run.start(name or MAIN_CLUSTER, messages.info)
        link_kubectl(layout.binaries / "kubectl")
    messages.done(f"Cluster {layout.name} runs at {layout.api_url}")
    messages.info(f"Use it with: kubectl --kubeconfig {layout.kubeconfig} get nodes")


def link_kubectl(binary: Path) -> None:
    """Put our kubectl on the PATH, unless the machine has one of its own."""
    if KUBECTL.is_symlink() and not KUBECTL.exists():
        KUBECTL.unlink()
    if not KUBECTL.exists() and os.access(KUBECTL.parent, os.W_OK):
        KUBECTL.symlink_to(binary)
