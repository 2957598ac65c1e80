"""`loft login`: exchange a password for an access key, or check a given key, and remember it."""

from __future__ import annotations

import base64
import ssl
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import click

from loft.cli import exitcode
from loft.cli.app import Session
from loft.cli.failure import Failure, Refused, one_line
from loft.cli.platform_api import PlatformApi, connect
from loft.cli.transport import ServerRefused, Transport, normalise, verify_context

UNTRUSTED = """the certificate of {url} is not signed by an authority this machine trusts
  its SHA-256 fingerprint is {fingerprint}
  trust its authority:  loft login {url} --ca-file FILE …
  or do not verify it:  loft login {url} --insecure …"""


def fingerprint(url: str) -> str:
    """Return the SHA-256 fingerprint of the certificate that an address shows, "" when none can be read."""
    import hashlib

    parts = urllib.parse.urlsplit(url)
    try:
        pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=10)
    except OSError:
        return ""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[place : place + 2] for place in range(0, len(digest), 2))


def password_login(transport: Transport, username: str, password: str) -> str:
    """Return the access key of a password login."""
    answer = transport.ask("POST", "/auth/password/login", {"username": username, "password": password})
    key = answer.get("accessKey")
    if not isinstance(key, str) or not key:
        raise Failure(f"{transport.base} gave no access key; is this the URL of a loft instance?")
    return key


def is_instance(host: str, context: ssl.SSLContext) -> bool:
    """Tell whether an address that refused us is an instance of the platform at all; yes when in doubt."""
    try:
        return "kubeVersion" in Transport(host, "", context).ask("GET", "/version")
    except ServerRefused as refused:
        return refused.code == exitcode.UNREACHABLE
    except Failure as failure:
        return failure.code == exitcode.UNREACHABLE


@click.command()
@click.argument("url", required=False)
@click.option("--username", default="", help="Name of the user.")
@click.option("--password", default="", help="Password; asked for when missing.")
@click.option("--access-key", default="", help="Access key to use instead of a password.")
@click.option("--insecure", is_flag=True, help="Do not verify the certificate of the instance.")
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="PEM file of the authority to trust.")
@click.option(
    "--docker-login/--no-docker-login",
    default=False,
    help="not supported; kept for 2.x scripts.",
    hidden=True,
)
@click.pass_obj
def command(session: Session, /, url: str | None, ca_file: str | None, docker_login: bool, **given: Any) -> None:
    """Log in to the instance at URL; without URL, show who is logged in."""
    state, messages = session.state, session.messages
    if docker_login:
        raise Failure("--docker-login is not supported", exitcode.USAGE)
    if url is None:
        if ca_file or any(given.values()):
            raise Failure("name the instance: loft login URL …", exitcode.USAGE)
        who = _name(connect(state))
        messages.info(f"Logged into {state.host} as {who}")
        return
    host = normalise(url)
    state.values.update({"host": host, "insecure": bool(given["insecure"]), "accesskey": ""})
    if ca_file:
        state.pin(host, _authority(Path(ca_file)))
    try:
        state.values["accesskey"] = given["access_key"] or _by_password(session, given["username"], given["password"])
        who = _name(connect(state))
    except Failure as failure:
        raise _explained(failure, session, given["access_key"]) from failure
    for stale in ("directClusterEndpointTokens", "directClusterEndpointToken"):
        state.values.pop(stale, None)
    state.save()
    messages.done(f"Successfully logged into Loft instance {host} as {who}")


def _explained(failure: Failure, session: Session, given_key: str) -> Failure:
    """Return why a login failed, in the words of somebody who is just logging in."""
    state = session.state
    if isinstance(failure.__cause__, ssl.SSLCertVerificationError) and not state.insecure:
        text = UNTRUSTED.format(url=state.host, fingerprint=fingerprint(state.host) or "not to be had")
        return Failure(text, exitcode.UNREACHABLE)
    if failure.code in (exitcode.USAGE, exitcode.UNREACHABLE):
        return failure
    if not is_instance(state.host, verify_context(state.ca_data, state.insecure)):
        return Failure(f"{state.host} answers, but not as a loft instance; check the host and the port")
    if not isinstance(failure, Refused):
        return failure
    if given_key:
        return Failure(f"the access key was refused: {failure.reason}", exitcode.NOT_LOGGED_IN)
    return Failure(f"{failure.reason}; ask an administrator if you forgot it", exitcode.NOT_LOGGED_IN)


def _authority(path: Path) -> str:
    """Return the base64 PEM of an authority's certificate in a file. Raises: Failure when it holds none."""
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
        verify_context(encoded, insecure=False)
    except OSError as error:
        raise Failure(f"cannot read {path}: {one_line(error)}", exitcode.USAGE) from error
    except Failure as failure:
        raise Failure(f"{path} holds no certificate in PEM form", exitcode.USAGE) from failure
    return encoded


def _by_password(session: Session, username: str, password: str) -> str:
    state = session.state
    if (not username or not password) and not sys.stdin.isatty():
        raise Failure("give --username and --password, or --access-key", exitcode.USAGE)
    username = username or click.prompt("Username", err=True)
    password = password or click.prompt("Password", hide_input=True, err=True)
    return password_login(Transport(state.host, "", verify_context(state.ca_data, state.insecure)), username, password)


def _name(api: PlatformApi) -> str:
    status = api.self_().get("status") or {}
    for kind in ("user", "team"):
        if status.get(kind):
            return f"{kind}: {status[kind].get('name')}"
    raise Failure("the instance does not say who this key belongs to")
