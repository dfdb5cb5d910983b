"""Pages of deliveries: what the subscriptions of one connection are sent next.

Rows are read only when the client has taken most of the last page, so a slow client costs no
more memory than one page.  Knows rows and subscriptions, nothing of sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import page, some
from streams.gateway.streaming.subscription import StreamSubscription

PAGE_MESSAGES = 64
"""Deliveries that one subscription may add to a page."""
PAGE_BYTES = 64 * 1024
"""A page ends with the delivery that takes it over this size."""
PAGE_READS = 512
"""Reads of rows after which a page ends, even if it is not full."""


class Leases(Protocol):
    """The part of `leasing.Leasing` that pages use."""

    def look(self, subscription: StreamSubscription) -> None:
        """Get messages for a subscription: there may be new ones."""
        ...

    def again(self, subscription: StreamSubscription) -> None:
        """Get more messages for a subscription."""
        ...


class Pages:
    """The subscriptions of one connection that may have something to send, in turn."""

    def __init__(
        self,
        leases: Leases,
        is_readable: Callable[[Partition], bool],
        lost: Callable[[StreamSubscription], None],
        count_sent: Callable[[int], None],
        to_write: asyncio.Event,
        *,
        forwarded: bool,
    ) -> None:
        """Take what pages are made from, and whom to tell.

        Args:
            leases: gets messages for competing consumers.
            is_readable: tells whether a partition can be read here now.
            lost: is called with a subscription whose partition cannot.
            count_sent: is called with the number of deliveries sent.
            to_write: is set when a subscription is queued.
            forwarded: whether the client is another worker, which keeps track itself of what
                its client holds.
        """
        self._leases = leases
        self._is_readable = is_readable
        self._lost = lost
        self._count_sent = count_sent
        self._forwarded = forwarded
        self._queued: deque[StreamSubscription] = deque()
        self._reads = 0  # for the current page
        self._to_write = to_write

    def __bool__(self) -> bool:
        return bool(self._queued)

    def mark(self, subscription: StreamSubscription) -> None:
        """Look for new deliveries of a subscription, in its turn."""
        if subscription.terms is not None:
            self._leases.look(subscription)
        if subscription.terms is None or subscription.taken:
            self.enqueue(subscription)

    def enqueue(self, subscription: StreamSubscription) -> None:
        """Add a subscription to the end of the line, unless it is queued already."""
        if not subscription.marked:
            subscription.marked = True
            self._queued.append(subscription)
            self._to_write.set()

    def fill(self, frames: list[bytes]) -> None:
        """Append the next page of deliveries to `frames`, each subscription in turn."""
        size = self._reads = 0
        while self._queued and size < PAGE_BYTES and self._reads < PAGE_READS:
            size += self._add(frames, self._queued.popleft())

    def _add(self, frames: list[bytes], subscription: StreamSubscription) -> int:
        """Append deliveries of one subscription, and queue it again if there may be more.

        Returns:
            Their size in bytes, roughly.
        """
        self._reads += 1
        subscription.marked = False
        partition = subscription.local
        if partition is None or subscription.credit == 0 or not subscription.open:
            return 0
        if not self._is_readable(partition):
            self._lost(subscription)
            return 0
        if subscription.terms is not None:
            return self._add_leased(frames, subscription, partition)
        size = self._add_again(frames, subscription, partition) if subscription.again else 0
        if subscription.credit == 0:
            return size
        if subscription.again or size > PAGE_BYTES:
            self.enqueue(subscription)  # new deliveries go on a later page
            return size
        return size + self._add_new(frames, subscription, partition)

    def _add_new(
        self, frames: list[bytes], subscription: StreamSubscription, partition: Partition
    ) -> int:
        """Append deliveries after the last one sent."""
        credit = subscription.credit
        limit = PAGE_MESSAGES if credit is None else min(credit, PAGE_MESSAGES)
        read = page(partition.rows, subscription.queue, subscription.last, limit, PAGE_BYTES)
        self._reads += read.skipped
        if read.more:
            self.enqueue(subscription)
        found = read.found
        subscription.sent(read.last, len(found))
        if not found:
            return 0
        self._count_sent(len(found))
        size, prefix = 0, subscription.prefix
        for one in found:
            frames.append(b"%b%b}" % (prefix, one.members))
            size += len(one.members)
        return size

    def _add_again(
        self, frames: list[bytes], subscription: StreamSubscription, partition: Partition
    ) -> int:
        """Append deliveries that were sent before and came back under their old seqs."""
        size = 0
        again = subscription.again
        for seq in list(again)[:PAGE_MESSAGES]:
            if subscription.credit == 0 or size > PAGE_BYTES:
                break
            del again[seq]
            size += self._add_one(frames, subscription, partition, seq, b',"redelivered":true}')
        return size

    def _add_leased(
        self, frames: list[bytes], subscription: StreamSubscription, partition: Partition
    ) -> int:
        """Append what a Lease got for a competing consumer; then ask for more."""
        size = 0
        taken = subscription.taken
        while taken and subscription.credit and size <= PAGE_BYTES:
            seq = taken.popleft()
            added = self._add_one(frames, subscription, partition, seq, b"}")
            if added and not self._forwarded:
                subscription.held[seq] = None
            size += added
        if taken:
            self.enqueue(subscription)
        else:
            self._leases.again(subscription)
        return size

    def _add_one(
        self,
        frames: list[bytes],
        subscription: StreamSubscription,
        partition: Partition,
        seq: int,
        end: bytes,
    ) -> int:
        """Append one delivery, unless it is gone; return its size."""
        self._reads += 1
        for one in some(partition.rows, subscription.queue, [seq]):
            subscription.sent(seq)
            self._count_sent(1)
            frames.append(b"%b%b%b" % (subscription.prefix, one.members, end))
            return len(one.members)
        return 0
