"""Notices from the deliver fold to the gateway, kept until a chunk is folded.

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
    deleted: dict[bytes, int]
    """Queues that were deleted, each with the offset of the last record that did so."""
    configured: set[bytes]
    """Queues that got other options."""


class Notices:
    """Collects notices while records are folded."""

    __slots__ = (
        "_configured",
        "_deleted",
        "_delivered",
        "_leased",
        "_released",
        "collect",
        "collect_delivered",
    )

    def __init__(self, collect: bool = False) -> None:
        self.collect = collect
        """Whether anything but deliveries is collected."""
        self.collect_delivered = False
        """Whether deliveries are collected; worth their cost only while a client waits."""
        self._delivered: set[bytes] = set()
        self._leased: dict[int, list[int]] = {}
        self._released: list[tuple[bytes, int]] = []
        self._deleted: dict[bytes, int] = {}
        self._configured: set[bytes] = set()

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

    def deleted(self, queue: bytes, offset: int) -> None:
        """Note that the record at `offset` deleted a queue."""
        if self.collect:
            self._deleted[queue] = offset

    def configured(self, queue: bytes) -> None:
        """Note that a queue got other options."""
        if self.collect:
            self._configured.add(queue)

    def drain(self) -> ChunkNotices:
        """Return what was collected since the last call, and start over."""
        delivered = self._delivered if self.collect_delivered else None
        drained = ChunkNotices(
            delivered, self._leased, self._released, self._deleted, self._configured
        )
        self._delivered, self._leased, self._released = set(), {}, []
        self._deleted, self._configured = {}, set()
        return drained
