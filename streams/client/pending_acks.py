"""Acks of one queue that Kafka has not confirmed yet, so that they can be sent again.

Pure, except for the futures that wait for confirmations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from streams.client.errors import ClientError


class PendingAcks:
    """Single and cumulative acks, each with a future that its confirmation resolves."""

    def __init__(self) -> None:
        self.single: dict[int, asyncio.Future[None]] = {}
        self.upto: dict[int, asyncio.Future[None]] = {}

    def __bool__(self) -> bool:
        return bool(self.single or self.upto)

    def begin(self, seq: int, *, cumulative: bool) -> asyncio.Future[None]:
        """Add an ack that is sent now; return the future of its confirmation."""
        pending = self.upto if cumulative else self.single
        future = pending.get(seq)
        if future is None:
            future = pending[seq] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_retrieve_exception)
        return future

    def confirm(self, upto: int | None, seqs: Iterable[int]) -> None:
        """Resolve confirmed acks; `upto` confirms all acks up to that seq."""
        if upto is not None:
            for pending in (self.upto, self.single):
                for seq in [seq for seq in pending if seq <= upto]:
                    _resolve(pending.pop(seq))
        for seq in seqs:
            future = self.single.pop(seq, None)
            if future is not None:
                _resolve(future)

    def fail(self, upto: int | None, seqs: Iterable[int], error: ClientError) -> None:
        """Fail acks that a retry cannot confirm."""
        failed = [self.single.pop(seq, None) for seq in seqs]
        if upto is not None:
            failed.append(self.upto.pop(upto, None))
        for future in failed:
            if future is not None and not future.done():
                future.set_exception(error)

    def fail_all(self, error: ClientError) -> None:
        """Fail every ack."""
        self.fail(None, list(self.single), error)
        for upto in list(self.upto):
            self.fail(upto, (), error)

    def futures(self) -> list[asyncio.Future[None]]:
        """Return the futures of all acks."""
        return [*self.single.values(), *self.upto.values()]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve_exception(future: asyncio.Future[None]) -> None:
    """Retrieve the exception, so that asyncio does not log it when nobody awaits the future."""
    if not future.cancelled():
        future.exception()
