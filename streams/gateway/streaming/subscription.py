"""One queue that a connection is subscribed to, and how far it has come.

Knows neither rows nor sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.gateway.streaming.frames import message_prefix

if TYPE_CHECKING:
    from streams.gateway.ports import Partition
    from streams.gateway.streaming.connection import Connection
    from streams.gateway.streaming.frames import Ref
    from streams.gateway.streaming.upstream import Upstream


class Subscription:
    """What one connection is sent of one queue."""

    __slots__ = (
        "connection",
        "credit",
        "key",
        "last",
        "local",
        "marked",
        "number",
        "open",
        "owner",
        "prefix",
        "queue",
        "read_after",
        "ref",
        "upstream",
        "waiting_since",
    )

    def __init__(
        self,
        connection: Connection,
        queue: str,
        number: int,
        after: int,
        credit: int | None,
        ref: Ref,
        read_after: int,
    ) -> None:
        self.connection = connection
        self.queue = queue
        self.key = queue.encode()
        self.prefix = message_prefix(queue)
        self.number = number
        """Partition that the queue belongs to."""
        self.last = after
        """The last seq sent."""
        self.credit = credit
        """How many messages may be sent; None for no limit."""
        self.ref = ref
        self.read_after = read_after
        self.open = True
        self.marked = False
        """Whether it stands in line to be looked at."""
        self.local: Partition | None = None
        """The partition that it is served from, when that is this worker's."""
        self.upstream: Upstream | None = None
        """The connection to the owner that it is served by, when that is another worker."""
        self.owner: str | None = None
        """Which worker served it last, as the client was told; None before the first."""
        self.waiting_since = 0.0
        """Since when nobody serves it; infinity once the client was told."""

    def sent(self, seq: int, count: int = 1) -> None:
        """Note that so many deliveries are sent, the last of them with this seq."""
        self.last = seq
        if self.credit is not None:
            self.credit -= count
