"""`loft completion`: shell completion, made by the command framework."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from loft.cli import exitcode
from loft.cli.failure import Failure


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL; use it with: source <(loft completion bash)."""
    found = get_completion_class(shell)
    if found is None:
        raise Failure(f"completion for {shell} is not supported", exitcode.USAGE)
    click.echo(found(context.find_root().command, {}, "loft", "_LOFT_COMPLETE").source())
