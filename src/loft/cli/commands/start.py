"""`loft start`: a real Kubernetes on this machine with the platform on it."""

from __future__ import annotations

import click

from loft.cli import local
from loft.cli.app import Session

BANNER = """
##########################   LOGIN   ############################

Username: admin
Password: {password}

Login via CLI:  loft login {url} --username admin

#################################################################
"""


@click.command()
@click.option("--name", default="", help="Start one more cluster of this name instead of the platform itself.")
@click.pass_obj
def command(session: Session, /, name: str) -> None:
    """Start the platform on this machine; repeat it at any moment."""
    local.need_root()
    from loft.cli import install
    from loft.embedded import run
    from loft.embedded.layout import MAIN_CLUSTER

    messages = session.messages
    with local.failures():
        layout = run.start(name or MAIN_CLUSTER, messages.info)
    install.link_kubectl(layout)
    if not layout.is_main:
        messages.done(f"Cluster {layout.name} runs")
        messages.info(f"Connect it with: loft connect cluster {layout.name} --kubeconfig {layout.kubeconfig}")
        return
    installed = install.platform(layout, session.state, messages)
    messages.done(f"Loft is reachable at {installed.url}")
    if installed.password:
        click.echo(BANNER.format(password=installed.password, url=installed.url))
        messages.warn("the password is shown this once; change it with: loft reset password")
    messages.info(f"Log in with: loft login {installed.url} --username admin")
