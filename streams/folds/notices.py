"""What the deliver fold has to tell the gateway, kept until a chunk is folded.

Notices only save the gateway from polling: no row and no output depends on them.
"""

from __future__ import annotations

from typing import NamedTuple


class ChunkNotices(NamedTuple):
    """The notices of one chunk."""

    delivered: set[bytes] | None
    """Queues that got something to read; None when they were not collected."""
    leased: dict[int, list[int]]
    """Seqs that each Lease got, by the offset of the Lease."""
    released: list[tuple[bytes, int]]
    """Queue and seq of each delivery that became available again under its old seq."""


class Notices:
    """Collects notices while records are folded."""

    __slots__ = ("_delivered", "_leased", "_released", "collect", "collect_delivered")

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        """Whether leases and releases are collected."""
        self.collect_delivered = False
        """Whether deliveries are collected; worth their cost only while a client waits."""
        self._delivered: set[bytes] = set()
        self._leased: dict[int, list[int]] = {}
        self._released: list[tuple[bytes, int]] = []

    def delivered(self, queue: bytes) -> None:
        """Note that a queue got something to read."""
        if self.collect_delivered:
            self._delivered.add(queue)

    def delivered_many(self, queues: list[bytes]) -> None:
        """Note that queues got something to read."""
        if self.collect_delivered:
            self._delivered.update(queues)

    def leased(self, offset: int, seqs: list[int]) -> None:
        """Note what the Lease at `offset` got."""
        if self.collect:
            self._leased[offset] = seqs

    def released(self, queue: bytes, seq: int) -> None:
        """Note that a delivery is available again under its old seq."""
        if self.collect:
            self._released.append((queue, seq))

    def drain(self) -> ChunkNotices:
        """Return what was collected since the last call, and start over."""
        delivered = self._delivered if self.collect_delivered else None
        drained = ChunkNotices(delivered, self._leased, self._released)
        self._delivered, self._leased, self._released = set(), {}, []
        return drained
