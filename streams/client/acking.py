"""Acks of one queue that Kafka has not confirmed yet, so that they can be sent again.

Pure but for the futures that wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from streams.client.errors import ClientError


class Acking:
    """Single seqs and cumulative ones, each with the future that its confirmation resolves."""

    def __init__(self) -> None:
        self.single: dict[int, asyncio.Future[None]] = {}
        self.upto: dict[int, asyncio.Future[None]] = {}

    def __bool__(self) -> bool:
        return bool(self.single or self.upto)

    def begin(self, seq: int, *, cumulative: bool) -> asyncio.Future[None]:
        """Note an ack that is sent now; returns what its confirmation resolves."""
        waiting = self.upto if cumulative else self.single
        future = waiting.get(seq)
        if future is None:
            future = waiting[seq] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_look)
        return future

    def confirm(self, upto: int | None, seqs: Iterable[int]) -> None:
        """Resolve what a confirmation says; a cumulative one stands for all below it."""
        if upto is not None:
            for waiting in (self.upto, self.single):
                for seq in [seq for seq in waiting if seq <= upto]:
                    _resolve(waiting.pop(seq))
        for seq in seqs:
            future = self.single.pop(seq, None)
            if future is not None:
                _resolve(future)

    def fail(self, upto: int | None, seqs: Iterable[int], error: ClientError) -> None:
        """Fail what will not be confirmed, however often it is sent."""
        failed = [self.single.pop(seq, None) for seq in seqs]
        if upto is not None:
            failed.append(self.upto.pop(upto, None))
        for future in failed:
            if future is not None and not future.done():
                future.set_exception(error)

    def futures(self) -> list[asyncio.Future[None]]:
        """Return all that is waited for."""
        return [*self.single.values(), *self.upto.values()]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _look(future: asyncio.Future[None]) -> None:
    """Look at an error that perhaps nobody waits for, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
