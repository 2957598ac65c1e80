"""What agents call: the stream of users and keys, and signatures for their certificates. Bearer: the agent's token."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from loft.pki.authority import KeyPair
from loft.tenancy.cluster.certificates import CertificateRequests, issue_all
from loft.tenancy.cluster.tokens import Tokens
from loft.tenancy.replica.publisher import Publisher
from loft.web.answers import NO_STORE, Refused, answer, body

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 128 * 1024


class Agents:
    """`GET /agent/v1/replica` and `POST /agent/v1/certificates`."""

    def __init__(
        self,
        tokens: Tokens,
        publisher: Publisher,
        ca: KeyPair,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tokens = tokens
        self._publisher = publisher
        self._ca = ca
        self._clock = clock

    async def replica(self, request: Request) -> Response:
        """Stream what the agent needs to decide."""
        cluster = self._cluster(request)
        return StreamingResponse(self._publisher.stream(cluster), 200, NO_STORE, "application/x-ndjson")

    async def certificates(self, request: Request) -> Response:
        """Sign an agent's certificate requests."""
        cluster = self._cluster(request)
        try:
            wanted = msgspec.json.decode(await body(request, BODY_BYTES_MAX), type=CertificateRequests)
            hosts = self._publisher.hosts(cluster)
            made = issue_all(wanted, cluster, hosts, self._ca, self._clock())
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            raise Refused(400, "BadRequest", f"the certificates cannot be issued: {error}") from error
        log.info("certificates for the agent of %s: %s", cluster, ", ".join(made.certificates))
        return answer(made)

    def _cluster(self, request: Request) -> str:
        values = request.headers.getlist("authorization")
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        cluster = self._tokens.cluster_of(token.strip()) if scheme.lower() == "bearer" else ""
        if not cluster:
            raise Refused(401, "Unauthorized", "the agent's token is not known here; connect the cluster again")
        return cluster
