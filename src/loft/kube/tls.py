"""TLS settings of an endpoint, without writing its private key to a disk. Standard library only."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from loft.kube.config import ConfigError, Endpoint


def tls_context(endpoint: Endpoint, cert: bytes = b"", key: bytes = b"") -> ssl.SSLContext:
    """Return the client's TLS context; `cert` and `key` (PEM) replace the endpoint's own when given.

    Without authorities in the endpoint those of the operating system are trusted.
    Raises: ConfigError when the PEM data cannot be used.
    """
    try:
        context = ssl.create_default_context(cadata=endpoint.ca_data.decode() if endpoint.ca_data else None)
        if endpoint.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        # A few authorities made by older tools lack extensions that Python 3.13 began to insist on; Kubernetes
        # clients accept them, and the chain is verified all the same.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if cert or endpoint.client_cert:
            _load(context, cert or endpoint.client_cert, key or endpoint.client_key)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"the certificates for {endpoint.server} cannot be used: {error}") from error
    return context


def _load(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # The standard library reads chains from files only; an anonymous one in memory leaves no trace.
    handle = os.memfd_create("loft-client-certificate", os.MFD_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.write(cert + b"\n" + key)
        file.flush()
        context.load_cert_chain(Path("/proc/self/fd") / str(handle))
