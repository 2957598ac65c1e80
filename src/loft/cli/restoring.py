"""What may be restored into what, and the pod that holds a volume with snapshots. Pure."""

from __future__ import annotations

from typing import Any

from loft.cli import snapshots

TRANSFER_S = 3600


def version_refusal(written: str, running: str) -> str:
    """Return why a store of one version of Kubernetes cannot be restored under another, "" when it can. Pure."""
    try:
        old, new = (int(version.split(".")[1]) for version in (written, running))
    except (IndexError, ValueError):
        return f"{written!r} and {running!r} are no versions of Kubernetes"
    if old <= new <= old + 1:
        return ""
    return (
        f"the snapshot is of Kubernetes {written} and the virtual cluster runs {running}; "
        "it must be the same minor version or the next"
    )


def size_refusal(size: int, limit: int) -> str:
    """Return why a store of this size cannot be restored, "" when it can; both in bytes, no limit is 0. Pure."""
    if limit and size - snapshots.DIGEST_BYTES > limit:
        return (
            f"the store in the snapshot is {size >> 20} MiB, and storage.limit of the virtual cluster is "
            f"{limit >> 20} MiB: nothing could be written to it; raise storage.limit (and storage.size) first"
        )
    return ""


def holder(name: str, image: str, claim: str) -> dict[str, Any]:
    """Return a pod that has a volume for snapshots mounted, and may nothing."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "loft-snapshot"}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": TRANSFER_S,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "holder",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["kubernetes", "store", "hold"],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "snapshots", "mountPath": "/snapshots"}],
                }
            ],
            "volumes": [{"name": "snapshots", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
