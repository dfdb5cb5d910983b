"""Gathers the acks of one connection for a moment, so that few records carry many acks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from streams.gateway.streaming.acks import AckBatch

ACK_SECONDS: Final = 0.02
"""How long acks are gathered before they are written."""
ACKS_AT_ONCE: Final = 5000
"""Acks that are written without waiting any longer."""

AckFields = dict[str, int | list[int]]
"""`upto` or `seqs`, as an ack frame has them."""


class AckWriter:
    """Writes acks in batches, after `ACK_SECONDS` at the latest."""

    def __init__(self, write: Callable[[str, AckFields], None]) -> None:
        """Take what writes one ack record, given the queue and the fields."""
        self._write = write
        self._batch = AckBatch()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, queue: str, upto: int | None, seqs: Sequence[int]) -> None:
        """Add an ack."""
        self._batch.add(queue, upto, seqs)
        if self._batch.size >= ACKS_AT_ONCE:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ACK_SECONDS, self.flush)

    def flush(self) -> None:
        """Write all acks that were added."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for queue, fields in self._batch.take():
            self._write(queue, fields)
