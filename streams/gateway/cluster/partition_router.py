"""Where a read is answered: here when this worker owns the partition, else at its owner.

Knows tables and partitions, not what their rows mean.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.cluster.proxy import FORWARDED, READ_AFTER, Proxy
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import bad_request, unavailable
from streams.gateway.ports import Engine, Partition
from streams.gateway.writes.publishing import Publishing
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

CATCH_UP_SECONDS = 1.0
"""How long a read waits for the fold to reach what the same worker has published."""

LocalAnswer = Callable[[Partition], Awaitable[web.StreamResponse]]


class PartitionRouter:
    """Leads each read to the rows that answer it."""

    def __init__(
        self, engine: Engine, publishing: Publishing, forwarding: Proxy, settings: Settings
    ) -> None:
        self._engine = engine
        self._publishing = publishing
        self._forwarding = forwarding
        self._partitions = settings.partitions
        self._topics = {MEMBERS: settings.group_events, QUEUES: settings.queue_events}

    async def read(
        self, context: RequestContext, table: str, key: str, answer: LocalAnswer, wait: float = 0.0
    ) -> web.StreamResponse:
        """Answer a read of the rows of one group or queue; as `read_partition`."""
        number = partition_of(key.encode(), self._partitions)
        return await self.read_partition(context, table, number, answer, wait)

    async def read_partition(
        self,
        context: RequestContext,
        table: str,
        number: int,
        answer: LocalAnswer,
        wait: float = 0.0,
    ) -> web.StreamResponse:
        """Answer a read with `answer`, called with the ready partition, or by the owner's.

        `wait` is for how many seconds the answer may be held back on purpose.

        What was published through this worker is seen, unless the fold is more than
        `CATCH_UP_SECONDS` behind; then the answer is what there is.

        Raises:
            Unavailable: the partition is moving or recovering, or its owner is away.
        """
        written = max(
            _asked_offset(context), self._publishing.confirmed(self._topics[table], number)
        )
        partition = self._engine.partition(table, number)
        if partition is None:
            return await self._elsewhere(context, table, number, written, wait)
        self.check(partition)
        if partition.position <= written:
            await partition.reached(written, CATCH_UP_SECONDS)
            self.check(partition)
        return await answer(partition)

    def check(self, partition: Partition) -> None:
        """See that rows may be read; needed again after every await.

        Raises:
            HTTPError: 503, the partition is recovering or not this worker's any more.
        """
        if not self.answers(partition):
            raise unavailable(
                f"partition {partition.number} of {partition.table} is moving or recovering"
            )

    def answers(self, partition: Partition) -> bool:
        """Tell whether the partition is this worker's still, and its rows complete."""
        return (
            partition.ready
            and self._engine.partition(partition.table, partition.number) is partition
        )

    async def _elsewhere(
        self, context: RequestContext, table: str, number: int, written: int, wait: float
    ) -> web.StreamResponse:
        owner = self._engine.owner(table, number)
        if owner is None or self._forwarding.is_self(owner) or FORWARDED in context.request.headers:
            # The last one: two workers know different assignments, for a moment.
            raise unavailable(f"partition {number} of {table} is moving to another worker")
        return await self._forwarding.forward(context, owner, written, wait)


def _asked_offset(context: RequestContext) -> int:
    text = context.request.headers.get(READ_AFTER)
    if text is None:
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise bad_request("bad_header", f"{READ_AFTER} must be an offset")
    return int(text)
