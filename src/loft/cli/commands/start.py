"""`loft start`: the platform on this machine, on a real Kubernetes of its own; or one more cluster by name."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loft.cli import exitcode, local
from loft.cli.app import Session
from loft.cli.failure import Failure

if TYPE_CHECKING:
    from loft.embedded.layout import Layout

PROGRAMS = Path("/usr/local/bin")
PASSWORD_FILE = "admin-password"
BANNER = """
##########################   LOGIN   ############################

Username: admin
Password: {password}

Login via CLI: loft login {url} --username admin

#################################################################

The password is shown this once and stored nowhere but as a hash.
"""


@click.command()
@click.option("--name", default="", help="Name of the cluster; others than the first have a network of their own.")
@click.option("--password", default="", help="Password of user admin (default: a random one); at the first start only.")
@click.option(
    "--local-port", type=click.IntRange(1, 65535), help="Port of the instance on this machine  [default: 9898]"
)
@click.option(
    "--values",
    type=click.Path(exists=True, dir_okay=False),
    help="YAML file with values for chart loft (below `agent`: for chart loft-agent); kept.",
)
@click.option(
    "--kubernetes-versions",
    "versions",
    default="",
    metavar="VERSION,...",
    help="Build these versions of Kubernetes, too, for virtual clusters (about 8 minutes each, once).",
)
@click.pass_obj
def command(
    session: Session, /, name: str, password: str, local_port: int | None, values: str | None, versions: str
) -> None:
    """Start the platform on this machine; repeat it at any moment.

    With --name a further cluster is started, which `loft connect cluster` makes part of the platform.
    """
    local.need_root()
    from loft.embedded import platform, registry, run
    from loft.embedded.layout import MAIN_CLUSTER

    messages = session.messages
    is_main = name in ("", MAIN_CLUSTER)
    if not is_main and (password or local_port or values):
        raise Failure("--password, --local-port and --values belong to the platform's own cluster", exitcode.USAGE)
    given = _read_values(values)
    with local.failures():
        if is_main:
            platform.check_port(registry.planned(MAIN_CLUSTER), local_port)
        layout = run.start(name or MAIN_CLUSTER, messages.info)
        link_programs(layout)
        if wanted := [version.strip() for version in versions.split(",") if version.strip()]:
            run.add_versions(layout, wanted, messages.info)
        if is_main:
            _platform(session, layout, password, (local_port, given))
            _hint_at_stopped(session)
            return
    messages.done(f"Cluster {layout.name} runs at {layout.api_url}")
    messages.info(f"Connect it with: loft connect cluster {layout.name} --kubeconfig {layout.kubeconfig}")


def _platform(
    session: Session, layout: Layout, password: str, chosen: tuple[int | None, dict[str, Any] | None]
) -> None:
    from loft.embedded import platform

    port, values = chosen
    # Kept until it has been shown: a start that is interrupted in between does not lock everybody out.
    kept = layout.directory / PASSWORD_FILE
    secret = _read(kept) or password or secrets.token_urlsafe(18)
    if not (layout.directory / "platform.json").exists():
        _write_private(kept, secret)
    wish = platform.Wish(password=secret, hashed=_hashed, port=port, values=values)
    instance = platform.start(layout, wish, session.messages.info)
    if kept.exists():
        print(BANNER.format(password=secret, url=instance.url))
        kept.unlink()
        session.messages.done(f"Loft was successfully installed and can now be reached at: {instance.url}")
        return
    if password:
        session.messages.warn("user admin is there already; --password changes nothing")
    session.messages.done(f"Existing Loft instance found. Loft is reachable at {instance.url}")


def _hint_at_stopped(session: Session) -> None:
    from loft.embedded import registry, run

    for name in registry.known():
        layout = registry.layout_of(name)
        if layout is not None and not run.is_running(layout):
            session.messages.info(f"Cluster {name} is stopped; start it with: loft start --name {name}")


def _hashed(password: str) -> str:
    from loft.identity.passwords import hash_password

    return hash_password(password, secrets.token_bytes(16))


def _read_values(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    import yaml

    try:
        found = yaml.safe_load(Path(path).read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise Failure(f"{path} cannot be read as YAML: {' '.join(str(error).split())}", exitcode.USAGE) from error
    if not isinstance(found, dict):
        raise Failure(f"{path} is no YAML object of chart values", exitcode.USAGE)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def link_programs(layout: Layout) -> None:
    """Put our kubectl and helm on the PATH, unless the machine has its own."""
    from loft.helm.binary import find_helm

    for binary in (layout.binaries / "kubectl", find_helm()):
        place = PROGRAMS / binary.name
        if place.is_symlink() and not place.exists():
            place.unlink()
        if not place.exists() and os.access(PROGRAMS, os.W_OK):
            place.symlink_to(binary)
