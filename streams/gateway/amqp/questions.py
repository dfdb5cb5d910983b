"""What the door asks of queues and groups, rarely: requests to the HTTP of its own worker.

That answers from its own rows or asks the owner, and reflects what this worker has published.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from streams.errors import StreamsError
from streams.gateway.amqp.errors import (
    ACCESS_REFUSED,
    INTERNAL_ERROR,
    PRECONDITION_FAILED,
    AMQPError,
)
from streams.gateway.cluster.proxy import Proxy

PATIENCE_SECONDS: Final = 60.0
"""How long a question is repeated while partitions move or the client is over its rate."""
PAUSE_SECONDS: Final = 0.2
CLEARED_PAUSE_SECONDS: Final = 0.05
CLEARED_SECONDS: Final = 5.0
"""How long the end of a queue's bindings is waited for after it was deleted."""


class QueueState(NamedTuple):
    """What is known of a queue."""

    exists: bool
    """Whether it was declared, or has messages, bindings or a session."""
    configured: bool
    """Whether it has options, as every declared queue."""
    depth: int
    groups: int
    session: str | None


class BindingState(NamedTuple):
    """What is known of a binding to a group, and of the group."""

    bound: bool
    patterns: list[str]
    """Its patterns; none if it has every message."""
    of_group: int
    """How many patterns all bindings of the group have together."""


class Questions:
    """The questions of one connection."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.token = ""
        """The client's token; empty without authentication."""

    async def queue(self, name: str, read_at: int = -1) -> QueueState:
        """Return the state of a queue once an offset of its log is folded; raises as `_ask`."""
        found = await self._ask("GET", f"/v1/queues/{_path(name)}", read_at=read_at)
        depth, groups, session = found["depth"], found["groups"], found["session"]
        configured = found["configured"]
        exists = configured or bool(depth or groups or session)
        return QueueState(exists, configured, depth, groups, session)

    async def options(self, name: str) -> dict[str, Any]:
        """Return the options of a queue by their names over HTTP; raises as `_ask`."""
        return await self._ask("GET", f"/v1/queues/{_path(name)}/options")

    async def has_members(
        self, group: str, read_at: int = -1, *, routing_key: str | None = None
    ) -> bool:
        """Tell whether any queue is bound to a group once an offset of its log is folded.

        With a routing key, whether a message with it reaches any.  True if the client may not
        know.  Raises as `_ask`.
        """
        path = f"/v1/groups/{_path(group)}/queues?limit=1"
        if routing_key:
            path += f"&routing_key={_path(routing_key)}"
        try:
            found = await self._ask("GET", path, read_at=read_at)
        except AMQPError as error:
            if error.code == ACCESS_REFUSED:
                return True
            raise
        return bool(found["queues"])

    async def members(self, group: str) -> list[str]:
        """Return some of the queues that are bound to a group; raises as `_ask`."""
        found = await self._ask("GET", f"/v1/groups/{_path(group)}/queues")
        queues: list[str] = found["queues"]
        return queues

    async def patterns(self, group: str, queue: str, read_at: int = -1) -> BindingState:
        """Return what is known of a binding, and of its group; raises as `_ask`."""
        path = f"/v1/groups/{_path(group)}/queues/{_path(queue)}/patterns"
        found = await self._ask("GET", path, read_at=read_at)
        return BindingState(found["bound"], found["patterns"], found["patterns_of_group"])

    async def mark(self, group: str, queue: str, read_at: int) -> int:
        """Return an offset in the log of a queue, behind what it gets of a group up to an offset.

        Raises as `_ask`.
        """
        path = f"/v1/groups/{_path(group)}/marks/{_path(queue)}"
        offset: int = (await self._ask("POST", path, read_at=read_at))["offset"]
        return offset

    async def exchanges(self) -> list[dict[str, Any]]:
        """Return the exchanges that were declared; raises as `_ask`."""
        found: list[dict[str, Any]] = (await self._ask("GET", "/v1/exchanges"))["exchanges"]
        return found

    async def bindings(self, exchange: str, partition: int) -> list[tuple[str, str]]:
        """Return some of an exchange's bindings, (group, queue), in one partition of the groups.

        Of those with any routing key.  Raises as `_ask`.
        """
        path = f"/v1/exchanges/{_path(exchange)}/bindings/{partition}"
        found = (await self._ask("GET", path))["bindings"]
        return [(one["group"], one["queue"]) for one in found]

    async def lease(self, queue: str, consumer: str, seconds: float) -> dict[str, Any] | None:
        """Lease one message of a queue; None if there is none.  Raises as `_ask`."""
        content = {"limit": 1, "consumer": consumer, "visibility_seconds": seconds}
        path = f"/v1/queues/{_path(queue)}/leases"
        found = await self._ask("POST", path, content)
        return next(iter(found["messages"]), None)

    async def cleared(self, queue: str) -> None:
        """Wait until the bindings of a deleted queue have ended, so that new ones last."""
        for _ in range(round(CLEARED_SECONDS / CLEARED_PAUSE_SECONDS)):
            if not (await self.queue(queue)).groups:
                return
            await asyncio.sleep(CLEARED_PAUSE_SECONDS)

    async def _ask(
        self, method: str, path: str, content: dict[str, Any] | None = None, read_at: int = -1
    ) -> dict[str, Any]:
        """Send a request, again while it cannot be answered.

        With `read_at`, the answer has to show what is folded up to that offset.

        Raises:
            AMQPError: 403 or 406 if it is refused; 541 if it is not answered in time.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                status, found = await self._proxy.ask_own(
                    method, path, self.token, content, read_at
                )
            except StreamsError as error:
                status, found = 503, {"error": {"message": str(error)}}
            if status < 300:
                return found
            text = str(found.get("error", {}).get("message", f"HTTP status {status}"))
            if status in (401, 403):
                raise AMQPError(ACCESS_REFUSED, text)
            if status not in (429, 503):
                raise AMQPError(PRECONDITION_FAILED if status < 500 else INTERNAL_ERROR, text)
            if time.monotonic() > deadline:
                raise AMQPError(INTERNAL_ERROR, text)
            await asyncio.sleep(PAUSE_SECONDS)


def _path(id_: str) -> str:
    return quote(id_, safe="")
