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
from loft.cli.failure import Failure
from loft.cli.platform_api import PlatformApi, connect
from loft.cli.transport import Transport, verify_context

UNTRUSTED = """the certificate of {url} is not signed by an authority this machine trusts
  its SHA-256 fingerprint is {fingerprint}
  trust its authority:  loft login {url} --ca-file FILE …
  or do not verify it:  loft login {url} --insecure …"""


def normalise(url: str) -> str:
    """Return the URL of an instance with scheme and without a trailing slash.

    Raises: Failure for http or a URL without a host: credentials are never sent in the clear.
    """
    if "://" not in url:
        url = f"https://{url}"
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https":
        raise Failure(f"{url} is not https; an access key is never sent unencrypted", exitcode.USAGE)
    if not parts.hostname:
        raise Failure(f"{url} names no host", exitcode.USAGE)
    return url.rstrip("/")


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
    answer: Any = transport.call("POST", "/auth/password/login", {"username": username, "password": password})
    return str(answer["accessKey"])


@click.command()
@click.argument("url", required=False, default="")
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
def command(session: Session, /, url: str, ca_file: str | None, docker_login: bool, **given: Any) -> None:
    """Log in to the instance at URL; without URL, show who is logged in."""
    state, messages = session.state, session.messages
    if docker_login:
        raise Failure("--docker-login is not supported", exitcode.USAGE)
    if not url:
        who = _name(connect(state))
        messages.info(f"Logged into {state.host} as {who}")
        return
    host = normalise(url)
    state.values.update({"host": host, "insecure": bool(given["insecure"]), "accesskey": ""})
    if ca_file:
        state.pin(host, base64.b64encode(Path(ca_file).read_bytes()).decode())
    key = given["access_key"]
    try:
        if not key:
            key = _by_password(session, given["username"], given["password"])
        state.values["accesskey"] = key
        who = _name(connect(state))
    except Failure as failure:
        if isinstance(failure.__cause__, ssl.SSLCertVerificationError) and not given["insecure"]:
            text = UNTRUSTED.format(url=host, fingerprint=fingerprint(host) or "not to be had")
            raise Failure(text, exitcode.UNREACHABLE) from failure
        raise
    for stale in ("directClusterEndpointTokens", "directClusterEndpointToken"):
        state.values.pop(stale, None)
    state.save()
    messages.done(f"Successfully logged into Loft instance {host} as {who}")


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
