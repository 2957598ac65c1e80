"""`loft status`: what runs on this machine."""

from __future__ import annotations

import sys

import click

from loft.cli import exitcode, local, output


@click.command()
def command() -> None:
    """Show the clusters of this machine and how their processes are."""
    from loft.embedded import registry, run

    with local.failures():
        names = registry.known()
    if not names:
        click.echo("Nothing is installed on this machine; start it with: loft start", err=True)
        sys.exit(exitcode.NOT_FOUND)
    rows = []
    healthy = True
    for name in sorted(names, key=lambda item: names[item]):
        layout = registry.layout_of(name)
        assert layout is not None, "the name comes from the registry"
        state = run.status(layout) if run.is_running(layout) else None
        phase = state.phase if state else "stopped"
        bad = [item.name for item in state.processes if item.state != "ready"] if state else []
        healthy = healthy and phase == "running" and not bad
        rows.append((name, phase, layout.api_url, ", ".join(bad) or "-", str(layout.kubeconfig)))
    print(output.table(("Cluster", "Phase", "API", "Not ready", "Kubeconfig"), rows))
    sys.exit(0 if healthy else exitcode.ERROR)
