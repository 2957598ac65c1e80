"""TLS contexts for what the hypervisor serves: the kubelet API of virtual nodes and the admission webhook."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from loft.pki.authority import KeyPair


def server_context(pair: KeyPair, *, client_ca: bytes = b"") -> ssl.SSLContext:
    """Return a server's context (TLS 1.2 and up, HTTP/1.1); with `client_ca`, clients must prove themselves by it.

    The key never reaches a file system: the standard library reads from files only, so it gets one in memory.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    handle = os.memfd_create("loft-serving-certificate", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(pair.cert + b"\n" + pair.key)
        file.flush()
        context.load_cert_chain(Path("/proc/self/fd") / str(handle))
    return context


def peer_name(tls: ssl.SSLObject | None) -> str:
    """Return the common name of a verified client certificate, "" when there is none."""
    certificate = tls.getpeercert() if tls else None
    for relative_name in (certificate or {}).get("subject", ()):
        for pair in relative_name:
            if isinstance(pair, tuple) and pair[0] == "commonName":
                return str(pair[1])
    return ""
