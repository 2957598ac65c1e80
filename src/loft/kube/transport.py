"""How long the client waits at each edge, and how a dead connection is noticed.

A peer that vanishes (node lost, route gone, firewall forgot the flow) sends nothing, so a read alone would
wait for ever: the kernel probes every connection and gives it up after about DEAD_S. A process that hangs
with its kernel alive is caught by the limits on answers and on silence.
"""

from __future__ import annotations

import socket
from typing import Any

CONNECT_S = 10.0
"""Name resolution, TCP and TLS handshake."""
ANSWER_S = 65.0
"""Until the head of an answer: the API server's own limit is 60 s and it should be the one to say so."""
READ_S = 30.0
"""Between two pieces of a body that is not a stream."""
WATCH_S = 290
"""The server ends a watch after this time; below the five minutes after which many load balancers cut."""
BOOKMARK_SILENCE_S = 150.0
"""Silence on a watch that has carried a bookmark before; servers send one about every minute."""
WATCH_SILENCE_S = WATCH_S + 30.0
"""Silence on a watch without bookmarks: the server should have ended it."""

KEEPALIVE_IDLE_S = 15
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
DEAD_S = KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES


def new_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make the socket for an address as getaddrinfo returns it, with dead peers being noticed."""
    family, kind, protocol = address[:3]
    sock = socket.socket(family=family, type=kind, proto=protocol)
    watch_peer(sock)
    return sock


def watch_peer(sock: socket.socket) -> None:
    """Let the kernel notice a peer that is gone: on an idle connection and on one with unacknowledged data."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_S * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
