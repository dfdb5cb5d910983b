"""What one connection has on its way to Kafka, in the order in which the client sent it.

Bounded: when too much is unconfirmed, the client is not read from.  Knows records and their
confirmations, nothing of queues and sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.errors import StreamsError, Unavailable
from streams.gateway.ports import RecordMetadata, RecordToSend
from streams.gateway.writes.admission import FLAT_BYTES, Admission
from streams.gateway.writes.publishing import Publishing

MAX_RECORDS = 2000
MAX_BYTES = 4 * 1024 * 1024


class InFlightWindow:
    """Records that Kafka has not confirmed yet."""

    def __init__(self, publishing: Publishing, admission: Admission) -> None:
        self._publishing = publishing
        self._admission = admission
        self._records = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    def send(
        self,
        record: RecordToSend,
        confirmed: Callable[[RecordMetadata], None],
        failed: Callable[[StreamsError], None],
    ) -> None:
        """Append a record, after all that were sent before; one of the two is called later.

        Raises:
            HTTPError: 429, the worker has no room.
            Unavailable: it was not sent.
            TooLarge: it was not sent.
        """
        cost = len(record.value) + FLAT_BYTES
        self._admission.take(cost)
        try:
            future = self._publishing.start(record)
        except BaseException:
            self._admission.give_back(cost)
            raise
        self._count(1, cost)

        def ended(future: asyncio.Future[RecordMetadata]) -> None:
            self._admission.give_back(cost)
            self._count(-1, -cost)
            if future.cancelled():
                failed(Unavailable("this worker is stopping"))
                return
            error = future.exception()
            if error is None:
                confirmed(future.result())
            else:
                failed(error if isinstance(error, StreamsError) else Unavailable("not confirmed"))

        future.add_done_callback(ended)

    @property
    def has_room(self) -> bool:
        """Whether less than the limit is unconfirmed."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until less than the limit is unconfirmed."""
        await self._room.wait()

    def _count(self, records: int, count: int) -> None:
        self._records += records
        self._bytes += count
        if self._records < MAX_RECORDS and self._bytes < MAX_BYTES:
            self._room.set()
        else:
            self._room.clear()
