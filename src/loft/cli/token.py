"""`loft token`: the credential that kubectl asks for on every call, as an ExecCredential.

Only `sys`, `os`, `json` and `time` are loaded on the usual path. A token for a direct cluster endpoint is
renewed after 30 minutes; when the centre cannot be reached an older one is used for up to a day, which is
what lets people work through an outage of the centre.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loft.cli.state import State

RENEW_AFTER_S = 30 * 60
USABLE_S = 24 * 3600
USAGE = "usage: loft token [--silent] [--config FILE] [--direct-cluster-endpoint --cluster NAME]"


def parse(arguments: list[str]) -> dict[str, str]:
    """Return the options given; raises ValueError with the usage line on anything unknown."""
    options: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, _, value = word.partition("=")
        if name in ("--silent", "--debug", "--direct-cluster-endpoint"):
            options[name[2:]] = "true"
        elif name in ("--config", "--cluster"):
            if not value and not rest:
                raise ValueError(USAGE)
            options[name[2:]] = value or rest.pop(0)
        else:
            raise ValueError(USAGE)
    return options


def credential(token: str, asked: str) -> str:
    """Return the ExecCredential JSON.

    Args:
        token: the bearer token.
        asked: content of KUBERNETES_EXEC_INFO, which names the API version the client wants; may be "".
    """
    version = "client.authentication.k8s.io/v1beta1"
    try:
        wanted = json.loads(asked)["apiVersion"] if asked else version
    except (ValueError, KeyError, TypeError):
        wanted = version
    if wanted == "client.authentication.k8s.io/v1":
        version = wanted
    return json.dumps({"kind": "ExecCredential", "apiVersion": version, "status": {"token": token}})


def choose(entry: Any, now: float) -> tuple[str, bool]:
    """Return a remembered direct-endpoint token ("" when none is usable) and whether a new one is due."""
    if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
        return "", True
    requested = entry.get("requested")
    age_s = now - requested if isinstance(requested, int | float) else -1.0
    if not 0 <= age_s <= USABLE_S:
        return "", True
    return entry["token"], age_s > RENEW_AFTER_S


def direct_token(state: State, cluster: str, now: float) -> str:
    """Return a token for the direct endpoint of one cluster, renewed through the centre when due.

    Raises: Failure when there is no usable token and the centre gives none.
    """
    from loft.cli.failure import Failure

    token, due = choose(_tokens(state).get(cluster), now)
    if not due:
        return token
    from loft.cli import exitcode
    from loft.cli.platform_api import connect
    from loft.cli.state import State, StateError

    try:
        fresh = connect(state).direct_token(cluster)
    except Failure as failure:
        if token and failure.code == exitcode.UNREACHABLE:
            return token
        raise
    entry = {"token": fresh, "requested": int(now)}
    state.values["directClusterEndpointTokens"] = _tokens(state) | {cluster: entry}
    try:
        # What another command wrote while we asked must stay, above all a new login.
        latest = State.load(state.path)
        if (latest.host, latest.access_key) == (state.host, state.access_key):
            latest.values["directClusterEndpointTokens"] = _tokens(latest) | {cluster: entry}
            latest.save()
    except StateError as error:
        print(f"[warn] {error}; the next call asks for a token again", file=sys.stderr)
    return fresh


def _tokens(state: State) -> dict[str, Any]:
    tokens = state.values.get("directClusterEndpointTokens")
    return dict(tokens) if isinstance(tokens, dict) else {}


def run(arguments: list[str]) -> int:
    """Print the ExecCredential; return the exit code. One line on stderr says what is wrong."""
    from loft.cli.failure import Failure, not_logged_in
    from loft.cli.state import State, StateError

    try:
        options = parse(arguments)
        state = State.load(options.get("config", ""))
        if not state.access_key:
            raise not_logged_in()
        token = state.access_key
        if "direct-cluster-endpoint" in options:
            if not options.get("cluster"):
                raise ValueError(USAGE)
            token = direct_token(state, options["cluster"], time.time())
    except ValueError as error:
        print(f"[fatal] {error}", file=sys.stderr)
        return 2
    except StateError as error:
        print(f"[fatal] {error}", file=sys.stderr)
        return 1
    except Failure as failure:
        print(f"[fatal] {failure.message}", file=sys.stderr)
        return failure.code
    try:
        print(credential(token, os.environ.get("KUBERNETES_EXEC_INFO", "")), flush=True)
    except OSError as error:
        print(f"[fatal] {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
