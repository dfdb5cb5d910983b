"""One connection's subscription to one queue, and how far it has read.

Knows neither rows nor sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from streams.gateway.streaming.frames import message_prefix

if TYPE_CHECKING:
    from streams.gateway.ports import Partition
    from streams.gateway.streaming.frames import Ref, Terms
    from streams.gateway.streaming.subscriber import Subscriber
    from streams.gateway.streaming.upstream import Upstream

MOST_AGAIN = 10_000
"""Redeliveries that are remembered for one subscription."""


class StreamSubscription:
    """The state of a subscription."""

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
        "written",
    )

    def __init__(
        self,
        connection: Subscriber,
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
        """The queue's partition of queue-events."""
        self.last = after
        """The highest seq sent."""
        self.credit = credit
        """Messages that may still be sent; None for no limit."""
        self.ref = ref
        self.read_after = read_after
        self.terms = terms
        """Terms of a competing consumer; None for a subscriber that receives everything."""
        self.leasing = False
        """Whether it waits to append a Lease, or for the result of one."""
        self.taken: deque[int] = deque()
        """Seqs that a Lease got and that are still to be sent."""
        self.held: dict[int, None] = {}
        """Leased seqs that were sent and are neither acked nor nacked."""
        self.again: dict[int, None] = {}
        """Seqs to send again: they became available again after they were sent."""
        self.open = True
        self.marked = False
        """Whether it is queued to be read."""
        self.local: Partition | None = None
        """The partition that serves it, when this worker owns that."""
        self.upstream: Upstream | None = None
        """The stream to the worker that serves it, when another one does."""
        self.owner: str | None = None
        """The last worker that served it, as the client was told; None before the first."""
        self.written = read_after
        """Offset that the client knew to be written when it subscribed: a deletion up to there is
        older than the subscription."""
        self.waiting_since = 0.0
        """Since when no worker serves it; infinity once the client was told."""

    def sent(self, seq: int, count: int = 1) -> None:
        """Note that `count` deliveries were sent, the last of them with this seq."""
        self.last = max(self.last, seq)
        if self.credit is not None:
            self.credit -= count

    def came_back(self, seq: int) -> None:
        """Note that a delivery is available again; send it again if it was sent before."""
        if self.terms is None and seq <= self.last and len(self.again) < MOST_AGAIN:
            self.again[seq] = None

    def done(self, upto: int | None, seqs: Iterable[int]) -> None:
        """Note that a competing consumer has acked or nacked deliveries."""
        if upto is not None:
            for seq in [seq for seq in self.held if seq <= upto]:
                del self.held[seq]
        for seq in seqs:
            self.held.pop(seq, None)
