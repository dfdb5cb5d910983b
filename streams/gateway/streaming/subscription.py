"""One queue that a connection is subscribed to, and how far it has come.

Knows neither rows nor sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streams.gateway.streaming.frames import message_prefix

if TYPE_CHECKING:
    from streams.gateway.ports import Partition
    from streams.gateway.streaming.connection import StreamConnection
    from streams.gateway.streaming.frames import Ref, Terms
    from streams.gateway.streaming.upstream import Upstream

MOST_AGAIN = 10_000


class StreamSubscription:
    """What one connection is sent of one queue."""

    __slots__ = (
        "again",
        "connection",
        "credit",
        "held",
        "key",
        "last",
        "leasing",
        "local",
        "marked",
        "number",
        "open",
        "owner",
        "prefix",
        "queue",
        "read_after",
        "ref",
        "taken",
        "terms",
        "upstream",
        "waiting_since",
    )

    def __init__(
        self,
        connection: StreamConnection,
        queue: str,
        number: int,
        after: int,
        credit: int | None,
        ref: Ref,
        read_after: int,
        terms: Terms | None = None,
    ) -> None:
        self.connection = connection
        self.queue = queue
        self.key = queue.encode()
        self.prefix = message_prefix(queue)
        self.number = number
        """Partition that the queue belongs to."""
        self.last = after
        """The highest seq sent."""
        self.credit = credit
        """How many messages may be sent; None for no limit."""
        self.ref = ref
        self.read_after = read_after
        self.terms = terms
        """Of a competing consumer; None for who is sent all."""
        self.leasing = False
        """Whether it stands in line for a Lease, or waits for what one gets."""
        self.taken: deque[int] = deque()
        """Seqs that a Lease got, and that are to be sent."""
        self.held: dict[int, None] = {}
        """Seqs that the client was sent by a lease, and has neither acked nor given back."""
        self.again: dict[int, None] = {}
        """Seqs that were sent, and have come back since."""
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
        self.last = max(self.last, seq)
        if self.credit is not None:
            self.credit -= count

    def came_back(self, seq: int) -> None:
        """Note that a delivery may be had again; it is sent again if it was sent before."""
        if self.terms is None and seq <= self.last and len(self.again) < MOST_AGAIN:
            self.again[seq] = None

    def done(self, upto: int | None, seqs: Iterable[int]) -> None:
        """Note what a competing consumer does not have any more."""
        if upto is not None:
            for seq in [seq for seq in self.held if seq <= upto]:
                del self.held[seq]
        for seq in seqs:
            self.held.pop(seq, None)
