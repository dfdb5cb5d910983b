"""Routes each read to the rows that answer it: here, or at the worker that owns the partition.

Knows tables and partitions, not what their rows mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.cluster.proxy import READ_AFTER, READ_AT, ProxiedRequest, Proxy
from streams.gateway.http.errors import bad_request, unavailable
from streams.gateway.ports import Engine, Partition
from streams.gateway.writes.publishing import Publishing
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

CATCH_UP_SECONDS = 1.0
"""How long a read waits for the fold to reach what this worker has published."""

LocalRead = Callable[[Partition], Awaitable[web.StreamResponse]]


class PartitionRouter:
    """Finds the partition that answers a read, or forwards the read to its owner."""

    def __init__(
        self, engine: Engine, publishing: Publishing, proxy: Proxy, settings: Settings
    ) -> None:
        self._engine = engine
        self._publishing = publishing
        self._proxy = proxy
        self._partitions = settings.partitions
        self._topics = {MEMBERS: settings.group_events, QUEUES: settings.queue_events}

    async def read(
        self, request: ProxiedRequest, table: str, key: str, read: LocalRead, wait: float = 0.0
    ) -> web.StreamResponse:
        """Answer a read of one group or queue, `key`, as `read_partition` does."""
        number = partition_of(key.encode(), self._partitions)
        return await self.read_partition(request, table, number, read, wait)

    async def read_partition(
        self, request: ProxiedRequest, table: str, number: int, read: LocalRead, wait: float = 0.0
    ) -> web.StreamResponse:
        """Answer a read with `read(partition)`, or forward it to the partition's owner.

        The response reflects what was published through this worker, unless the fold is more
        than `CATCH_UP_SECONDS` behind; then it reflects what the fold has reached.  A request that
        names an offset itself (`Streams-Read-At`) is not answered before.

        Args:
            request: what is forwarded if another worker owns the partition.
            table: `members` or `queues`.
            number: number of the partition.
            read: called with the partition, which is ready then.
            wait: seconds that the owner may hold the response back on purpose.

        Raises:
            Unavailable: the owner does not answer.
            HTTPError: 503 if the partition cannot be read now.
        """
        read_at = _offset(request.read_at, READ_AT)
        read_after = _offset(request.read_after, READ_AFTER)
        confirmed = self._publishing.confirmed(self._topics[table], number)
        written = max(read_after, read_at, confirmed)
        partition = self._engine.partition(table, number)
        if partition is None:
            return await self._forward(request, table, number, written, wait)
        self.check(partition)
        if partition.position <= written:
            await partition.reached(written, CATCH_UP_SECONDS)
            self.check(partition)
            if partition.position <= read_at:
                raise unavailable(
                    f"{table}/{number} is at offset {partition.position} and has not folded "
                    f"offset {read_at} yet; try again"
                )
        return await read(partition)

    def check(self, partition: Partition) -> None:
        """Check that rows may be read; needed again after every await.

        Raises:
            HTTPError: 503 if the partition is recovering, or no longer this worker's.
        """
        if not self.is_readable(partition):
            reason = self._engine.unreadable(partition.table, partition.number)
            raise unavailable(f"{reason}; try again")

    def is_readable(self, partition: Partition) -> bool:
        """Tell whether this worker still owns the partition and its rows are complete."""
        return (
            partition.ready
            and self._engine.partition(partition.table, partition.number) is partition
        )

    async def _forward(
        self, request: ProxiedRequest, table: str, number: int, written: int, wait: float
    ) -> web.StreamResponse:
        owner = self._engine.owner(table, number)
        # Forwarded already: for a moment, two workers know different assignments.
        if owner is None or self._proxy.is_self(owner) or request.is_forwarded:
            raise unavailable(f"{self._engine.unreadable(table, number)}; try again")
        return await self._proxy.forward(request, owner, written, wait)


def _offset(text: str | None, header: str) -> int:
    if text is None:
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise bad_request("bad_header", f"{header} must be an offset")
    return int(text)
