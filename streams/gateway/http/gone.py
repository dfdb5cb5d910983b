"""Finds clients that are gone while they are not read from.

A worker that does not read from a socket does not learn that it was closed: it would keep the
client, and what waits for it, until its turn comes.  So the sockets are asked from time to time.
Knows sockets and time, nothing of requests.
"""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
from collections.abc import Hashable, Mapping
from typing import Final, Generic, TypeVar

Client = TypeVar("Client", bound=Hashable)

LOOK_SECONDS: Final = 1.0
"""How often sockets are asked."""
FINISH_SECONDS: Final = 10.0
"""How long what a client has sent may still wait for its turn after the client closed."""
SILENCE_SECONDS: Final = 20
"""Silence after which the system asks whether the machine of a client is still there."""
ASK_SECONDS: Final = 10.0
"""How often a client that is not read from is sent a ping: a machine refuses it if it is closed.

The end of a connection itself may wait behind what the client has sent.
"""
PROBES: Final = 3
PROBE_SECONDS: Final = 10

_ENDED: Final = getattr(select, "POLLRDHUP", 0)  # the client sends no more; Linux only
_DEAD: Final = select.POLLHUP | select.POLLERR


class Gone(Generic[Client]):
    """Remembers since when each client has been gone."""

    def __init__(self) -> None:
        self._since: dict[Client, float] = {}

    def look(self, sockets: Mapping[Client, int], now: float) -> list[Client]:
        """Return the clients to disconnect, of those with these file descriptors."""
        poll = select.poll()
        clients = {}
        for client, descriptor in sockets.items():
            if descriptor >= 0:
                clients[descriptor] = client
                poll.register(descriptor, _ENDED)
        events = {clients[descriptor]: event for descriptor, event in poll.poll(0)}
        self._since = {client: self._since.get(client, now) for client in events}
        return [
            client
            for client, event in events.items()
            if event & _DEAD or now - self._since[client] >= FINISH_SECONDS
        ]


def has_taken_all(descriptor: int) -> bool:
    """Tell whether the client's machine has acknowledged all that was sent to it."""
    unacknowledged = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    return not int.from_bytes(unacknowledged, sys.byteorder)


def probe_silent(listener: socket.socket) -> None:
    """Let the system find clients whose machine is gone, on all connections of a listener."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENCE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
    ):
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
