"""The records of one connection that Kafka has not confirmed yet, in the client's order.

The window is bounded: while it is full, the client is not read from.  Knows records and
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
    """Sends records and limits how many are unconfirmed."""

    def __init__(self, publishing: Publishing, admission: Admission) -> None:
        self._publishing = publishing
        self._admission = admission
        self._records = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def send(
        self,
        record: RecordToSend,
        confirmed: Callable[[RecordMetadata], None],
        failed: Callable[[StreamsError], None],
    ) -> None:
        """Append a record after those sent before; call `confirmed` or `failed` later.

        Raises:
            HTTPError: 429, this worker has too many unconfirmed bytes.
            Unavailable: the record was not sent.
            TooLarge: the record was not sent.
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
        """Whether the window is not full."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until the window is not full."""
        await self._room.wait()

    async def empty(self) -> None:
        """Wait until Kafka has confirmed all records, or they have failed."""
        await self._empty.wait()

    def _count(self, records: int, size: int) -> None:
        self._records += records
        self._bytes += size
        if self._records:
            self._empty.clear()
        else:
            self._empty.set()
        if self._records < MAX_RECORDS and self._bytes < MAX_BYTES:
            self._room.set()
        else:
            self._room.clear()
