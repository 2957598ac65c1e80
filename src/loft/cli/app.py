"""The command tree: names and one-line helps are known here, the code of a command is loaded when it runs."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from dataclasses import dataclass

import click

import loft
from loft.cli import exitcode
from loft.cli.failure import Failure
from loft.cli.output import Messages
from loft.cli.state import State, StateError

COMMANDS = {
    "start": ("Start the platform on this machine", "start"),
    "stop": ("Stop the platform on this machine and keep its data", "stop"),
    "uninstall": ("Remove the platform and its data from this machine", "uninstall"),
    "status": ("Show what is running on this machine", "status"),
    "login": ("Log in to an instance", "login"),
    "logout": ("Forget the login of this machine", "logout"),
    "token": ("Print the credential for kubectl", "token"),
    "create space": ("Create a space in a cluster", "create_space"),
    "create vcluster": ("Create a virtual cluster in a cluster", "create_vcluster"),
    "use cluster": ("Make a kube context for a cluster", "use_cluster"),
    "use space": ("Make a kube context for a space", "use_space"),
    "use vcluster": ("Make a kube context for a virtual cluster", "use_vcluster"),
    "use management": ("Make a kube context for the management API", "use_management"),
    "list clusters": ("List the clusters you have access to", "list_clusters"),
    "list spaces": ("List the spaces you have access to", "list_spaces"),
    "list vclusters": ("List the virtual clusters you have access to", "list_vclusters"),
    "list teams": ("List the teams you are a member of", "list_teams"),
    "delete space": ("Delete a space", "delete_space"),
    "delete vcluster": ("Delete a virtual cluster", "delete_vcluster"),
    "snapshot vcluster": ("Take a snapshot of a virtual cluster", "snapshot_vcluster"),
    "restore vcluster": ("Restore a virtual cluster from a snapshot", "restore_vcluster"),
    "connect cluster": ("Connect a Kubernetes cluster by its kubeconfig", "connect_cluster"),
    "get user": ("Show the user who is logged in", "get_user"),
    "vars username": ("Print the name of the user who is logged in", "vars_username"),
    "vars cluster": ("Print the cluster of the current kube context", "vars_cluster"),
    "completion": ("Print shell completion", "completion"),
}
GROUPS = {
    "create": "Create spaces and virtual clusters",
    "use": "Make kube contexts",
    "list": "List what you have access to",
    "delete": "Delete spaces and virtual clusters",
    "snapshot": "Take snapshots",
    "restore": "Restore snapshots",
    "connect": "Connect clusters",
    "get": "Show one thing",
    "vars": "Print values for scripts",
}


@dataclass
class Session:
    """What every command gets: the remembered state and where to write messages."""

    state: State
    messages: Messages
    debug: bool


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is called."""

    def __init__(self, prefix: str, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names below this group in the order of the table."""
        depth = len(self._prefix)
        return list(dict.fromkeys(name[depth:].split(" ")[0] for name in COMMANDS if name.startswith(self._prefix)))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, loading its module, or the group below."""
        full = self._prefix + cmd_name
        if cmd_name in GROUPS and not self._prefix:
            return LazyGroup(cmd_name + " ", name=cmd_name, help=GROUPS[cmd_name])
        if full not in COMMANDS:
            return None
        module = importlib.import_module(f"loft.cli.commands.{COMMANDS[full][1]}")
        command: click.Command = module.command
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading any of them."""
        rows = []
        for name in self.list_commands(ctx):
            if not self._prefix and name in GROUPS:
                rows.append((name, GROUPS[name]))
            else:
                rows.append((name, COMMANDS[self._prefix + name][0]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, prefix="", name="loft", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(loft.__version__, prog_name="loft", message="%(prog)s version %(version)s")
@click.option("--config", default="", help="State file of the CLI (default ~/.loft/config.json, or $LOFT_CONFIG).")
@click.option("--silent", is_flag=True, help="Print data, warnings and errors only.")
@click.option("--debug", is_flag=True, help="Print the stack trace of an error.")
@click.pass_context
def root(context: click.Context, config: str, silent: bool, debug: bool) -> None:
    """Spaces and virtual clusters on Kubernetes, for teams."""
    context.obj = Session(State.load(config), Messages(silent=silent), debug)


def usage(error: click.UsageError) -> str:
    """Return what is wrong with the words of a command, on one line."""
    text = " ".join(error.format_message().split()).rstrip(".")
    return f"{text}; see: {error.ctx.command_path} --help" if error.ctx is not None else text


def run_app() -> int:
    """Run one command and return its exit code; every failure is one clear line on stderr."""
    messages = Messages()
    debug = "--debug" in sys.argv
    try:
        root(standalone_mode=False, prog_name="loft")
        sys.stdout.flush()
    except Failure as failure:
        if debug:
            raise
        messages.fatal(failure.message)
        return failure.code
    except StateError as error:
        messages.fatal(str(error))
        return exitcode.ERROR
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return exitcode.USAGE
    except click.UsageError as error:
        messages.fatal(usage(error))
        return exitcode.USAGE
    except (click.Abort, KeyboardInterrupt):
        messages.fatal("interrupted")
        return exitcode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still in the buffer must not be tried again at the end.
        _drop_output()
        return exitcode.ERROR
    except OSError as error:
        if debug:
            raise
        messages.fatal(" ".join(str(error).split()))
        _drop_output()
        return exitcode.ERROR
    except Exception as error:
        if debug:
            raise
        messages.fatal(f"{type(error).__name__}: {error} (run again with --debug for the stack trace)")
        return exitcode.ERROR
    return 0


def _drop_output() -> None:
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
