"""A control plane that is not ours: what it must tell us, and what we ask of it through its own API. Pure.

Its image is run as it is; all that is known of it is a port and the kubeconfig that it writes. That file is not
trusted: of it only an authority and a credential are taken, given inline. Certificates for the virtual nodes and for
people come from the cluster's own signers, so whatever authorities it has, its API server accepts them.
Source: kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests (signers and their rules).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from cryptography import x509

from loft.kube.config import ConfigError, Endpoint, parse_kubeconfig

NODE_USER = "system:node:loft-hypervisor"
NODES_GROUP = "system:nodes"
AUTHENTICATION = ("kube-system", "extension-apiserver-authentication")
"""The ConfigMap in which an API server says by which authority it knows its clients."""
LIFETIME_S_MIN = 600
"""The shortest lifetime that a CertificateSigningRequest may ask for."""

Signer = Literal["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client"]
Object = dict[str, Any]


class Distribution(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A control plane of another make, in a container of its own beside the hypervisor."""

    kubeconfig: str
    """Name of its administrator's kubeconfig in the folder that both containers share."""
    port: int = 6443
    """Where its API server listens."""


def admin_endpoint(data: bytes, server: str) -> Endpoint:
    """Return how to reach the API server as its administrator.

    Args:
        data: the kubeconfig that the image wrote. Whoever made the image could make it say anything: a program to be
            run, a file of ours to be sent. Nothing but an authority and a credential is taken, both inline.
        server: where the API server is; what the file says about it is left aside.

    Raises: ConfigError.
    """
    found = parse_kubeconfig(data, inline_only=True)
    if found.insecure or not found.ca_data:
        raise ConfigError("the kubeconfig has no certificate-authority-data: its server cannot be verified")
    if not found.client_cert and not found.token:
        raise ConfigError("the kubeconfig has neither client-certificate-data nor a token")
    return Endpoint(
        server=server,
        ca_data=found.ca_data,
        client_cert=found.client_cert,
        client_key=found.client_key,
        token=found.token,
    )


def signing_request(signer: Signer, request: bytes, hours: float) -> Object:
    """Return the CertificateSigningRequest for a PEM request."""
    usage = "server auth" if signer == "kubernetes.io/kubelet-serving" else "client auth"
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "loft-hypervisor-"},
        "spec": {
            "request": base64.b64encode(request).decode(),
            "signerName": signer,
            "usages": ["digital signature", usage],
            "expirationSeconds": max(LIFETIME_S_MIN, int(hours * 3600)),
        },
    }


def approved(request: Object, now: str) -> Object:
    """Return a request as it is put to `/approval`; `now` is an RFC 3339 time."""
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "LoftHypervisor",
        "message": "asked for by the hypervisor of this virtual cluster",
        "lastUpdateTime": now,
    }
    return request | {"status": {"conditions": [condition]}}


def access_review(user: str, groups: Sequence[str]) -> Object:
    """Return the question whether somebody may use the kubelet API, as a kubelet asks it.

    Source: kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz.
    """
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": [*groups, "system:authenticated"],
            "resourceAttributes": {"verb": "create", "version": "v1", "resource": "nodes", "subresource": "proxy"},
        },
    }


def lacking(cert: bytes, names: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Return the names and addresses that a serving certificate (PEM) is not valid for."""
    try:
        found = x509.load_pem_x509_certificate(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return [*names, *addresses]
    dns = found.value.get_values_for_type(x509.DNSName)
    ips = {str(address) for address in found.value.get_values_for_type(x509.IPAddress)}
    return [name for name in names if name not in dns] + [address for address in addresses if address not in ips]
