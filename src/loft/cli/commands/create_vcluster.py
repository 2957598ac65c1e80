"""`loft create vcluster`: a Kubernetes API of one's own; only a name is needed."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click

from loft.cli import contexts, direct, exitcode, kubeconfig, names, spaces, virtual_clusters
from loft.cli.app import Session
from loft.cli.failure import Failure, one_line
from loft.cli.platform_api import CLUSTER_API, PlatformApi, connect
from loft.cli.transport import ServerRefused

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""As Kubernetes' generated names: no vowels, so no words."""


@click.command()
@click.argument("name", type=names.VIRTUAL_CLUSTER)
@click.option("--cluster", type=names.CLUSTER, default="", help="The cluster to use.")
@click.option("--space", type=names.SPACE, default="", help="The space to use; without it a new one is made.")
@click.option("--display-name", default="", help="Name to show in the UI.")
@click.option("--description", default="", help="Description to show in the UI.")
@click.option("--user", default="", help="User that owns a new space (default: you).")
@click.option("--team", default="", help="Team that owns a new space.")
@click.option("--values", type=click.Path(exists=True, dir_okay=False), help="File with chart values (YAML).")
@click.option("--print", "printed", is_flag=True, help="Print the kubeconfig instead of writing a context.")
@click.option("--create-context/--no-create-context", default=True, help="Make a kube context.")
@click.option("--switch-context/--no-switch-context", default=True, help="Switch to the new kube context.")
@click.option("--skip-wait", is_flag=True, help="Do not wait until it can be used.")
@click.option("--timeout", type=names.SECONDS, default=180, show_default=True, help="Seconds to wait for it.")
@click.option("--disable-direct-cluster-endpoint", is_flag=True, help="Reach the cluster through the centre only.")
@click.pass_obj
def command(session: Session, /, name: str, **given: Any) -> None:
    """Create the virtual cluster NAME."""
    state, messages = session.state, session.messages
    if given["user"] and given["team"]:
        raise Failure("give --user or --team, not both", exitcode.USAGE)
    if given["create_context"] and not given["printed"]:
        kubeconfig.check()
    text = _read_values(given["values"]) if given["values"] else ""
    api = connect(state)
    spaces.check_owner(api, given["user"], given["team"])
    cluster = api.choose_cluster(given["cluster"])
    cluster_name = cluster["metadata"]["name"]
    given |= {"values": text}
    space = _claim(api, cluster_name, name, given) or _make(session, api, cluster_name, name, given)
    if not given["skip_wait"]:
        messages.info(f"Waiting until virtual cluster {name} can be used...")
        note = api.wait_virtual_cluster(cluster_name, space, name, timeout_s=float(given["timeout"]))
        if note:
            messages.warn(note)
    messages.done(f"Successfully created the virtual cluster {name} in cluster {cluster_name} and space {space}")
    if not given["printed"] and not given["create_context"]:
        return
    access = direct.way_to(session, api, cluster, no_direct=given["disable_direct_cluster_endpoint"])
    target = virtual_clusters.context(access, space, name)
    if given["printed"]:
        click.echo(contexts.render(target, state), nl=False)
        return
    contexts.save(target, state, switch=given["switch_context"])
    if given["switch_context"]:
        messages.done(
            f"Successfully updated kube context to use virtual cluster {name} "
            f"in space {space} and cluster {cluster_name}"
        )


def _read_values(path: str) -> str:
    """Return the text of a file with chart values. Raises: Failure when it is no YAML object."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Failure(f"{path} cannot be read as YAML: {one_line(error)}", exitcode.USAGE) from error
    if found is not None and not isinstance(found, dict):
        raise Failure(f"{path} is no YAML object of chart values", exitcode.USAGE)
    return text


def _claim(api: PlatformApi, cluster: str, name: str, given: dict[str, Any]) -> str:
    """Take a virtual cluster that runs already where any will do; return its space, "" when there is none."""
    if given["space"] or given["values"]:
        return ""
    spec = {
        "virtualCluster": name,
        "user": given["user"],
        "team": given["team"],
        "displayName": given["display_name"],
        "description": given["description"],
    }
    body = {"apiVersion": "cluster.loft.sh/v1", "kind": "VirtualClusterClaim", "metadata": {}, "spec": spec}
    try:
        claim = api.in_cluster(cluster, "POST", f"{CLUSTER_API}/virtualclusterclaims", body)
    except ServerRefused as refused:
        # None is free; or an agent of an earlier version, which does not know the question.
        if refused.status in (403, 404):
            return ""
        raise
    return str(claim["status"]["space"])


def _make(session: Session, api: PlatformApi, cluster: str, name: str, given: dict[str, Any]) -> str:
    """Create the virtual cluster, in a new space if none is named; return the space. Raises: Failure."""
    space = given["space"] or f"vcluster-{name[:48]}-{''.join(secrets.choice(SUFFIX_LETTERS) for _ in range(5))}"
    wish = spaces.Wish(space, user=given["user"], team=given["team"])
    new_space = spaces.create(api, cluster, wish, use_existing=bool(given["space"]))
    try:
        _create(api, cluster, space, name, given)
    except Failure:
        if new_space:
            _take_back(session, api, cluster, space)
        raise
    return space


def _take_back(session: Session, api: PlatformApi, cluster: str, space: str) -> None:
    """Delete the space that was made for a virtual cluster which could not be created."""
    try:
        api.in_cluster(cluster, "DELETE", f"{CLUSTER_API}/spaces/{space}")
    except Failure as failure:
        session.messages.warn(
            f"the new space {space} is left over ({failure.message}); "
            f"remove it: loft delete space {space} --cluster {cluster}"
        )


def _create(api: PlatformApi, cluster: str, space: str, name: str, given: dict[str, Any]) -> None:
    annotations = {"loft.sh/display-name": given["display_name"], "loft.sh/description": given["description"]}
    body: dict[str, Any] = {
        "apiVersion": "cluster.loft.sh/v1",
        "kind": "VirtualCluster",
        "metadata": {
            "name": name,
            "namespace": space,
            "annotations": {key: text for key, text in annotations.items() if text},
        },
        "spec": {},
    }
    if given["values"]:
        body["spec"]["helmRelease"] = {"values": given["values"]}
    try:
        api.in_cluster(cluster, "POST", f"{CLUSTER_API}/namespaces/{space}/virtualclusters", body)
    except ServerRefused as refused:
        if refused.reason == "AlreadyExists":
            raise Failure(
                f"virtual cluster {name} exists already in space {space}; choose another name, "
                f"or use it: loft use vcluster {name} --space {space} --cluster {cluster}",
                exitcode.CONFLICT,
            ) from refused
        raise
