"""Whether the connection that holds an exclusive queue still lives, at whichever worker.

The session of an exclusive queue is named after its connection and that connection's worker.  When
the worker dies, nobody ends the session before its time to live is over; a client that connects
again at once must find its queue free, as it would after a restart of RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from streams.errors import Unavailable
from streams.gateway.cluster.proxy import Proxy
from streams.ids import MAX_ID_BYTES

SESSION_PREFIX: Final = "amqp-"
_AT: Final = "@"
_SECONDS: Final = 2.0


def session_name(unique: str, worker: str) -> str:
    """Return the name of a connection at a worker, given its base URL."""
    name = f"{SESSION_PREFIX}{unique}{_AT}{worker}"
    return name if len(name.encode()) <= MAX_ID_BYTES else f"{SESSION_PREFIX}{unique}"


class Holders:
    """Asks for the connections of all workers."""

    def __init__(self, proxy: Proxy, workers: Callable[[], set[str] | None]) -> None:
        """Take the way to the other workers.

        `workers` returns the base URLs of those that own partitions; None if that is not known.
        """
        self._proxy = proxy
        self._workers = workers

    async def lives(self, name: str, token: str) -> bool | None:
        """Tell whether a connection lives; None if that cannot be told yet.

        Only workers of this system are asked, whatever the name says: anybody may open a session.
        """
        _, separator, worker = name.partition(_AT)
        if not separator:
            return True
        if not self._proxy.is_self(worker):
            workers = self._workers()
            if workers is None:
                return None
            if worker.rstrip("/") not in {one.rstrip("/") for one in workers}:
                return False  # it has left, or has no partition and so no part in the system
        path = f"/v1/amqp/connections/{quote(name, safe='')}"
        try:
            return bool((await self._proxy.ask(worker, path, token, _SECONDS))["alive"])
        except Unavailable:
            return None
