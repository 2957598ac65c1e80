"""A small program with three writes, for tests that end it between two of them.

It does what controllers do: looks, plans, executes; so running it again must finish what was left.
"""

from __future__ import annotations

import asyncio
import sys

from loft.core.action import Action, Apply, Create, Delete
from loft.core.resource import CONFIGMAPS, SECRETS
from loft.kube.client import Client
from loft.kube.config import load_kubeconfig
from loft.kube.execute import Executor


async def main(kubeconfig: str, namespace: str) -> None:
    async with Client(load_kubeconfig(kubeconfig)) as client:
        there = {obj["metadata"]["name"] for obj in (await client.list(CONFIGMAPS, namespace)).items}
        actions: list[Action] = []
        if "first" not in there:
            actions.append(Create(CONFIGMAPS, {"metadata": {"namespace": namespace, "name": "first"}}))
        secret = {"metadata": {"namespace": namespace, "name": "second"}, "stringData": {"key": "value"}}
        actions.append(Apply(SECRETS, secret, "test"))
        actions.append(Delete(CONFIGMAPS, namespace, "old"))
        await Executor(client, component="test").execute(actions)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
