"""Requests that wait for the next message of a queue, and what wakes them.

Nothing is polled: the fold says which queues got something, and whoever waits for one of
these looks again.  Knows queue ids and partitions, not rows and not HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from streams.errors import Unavailable
from streams.gateway.ports import Partition

WAKE_AT_ONCE = 50
"""How many waiters are woken in one turn of the event loop; each of them reads rows."""


class _Waiter:
    __slots__ = ("future", "partition", "queue")

    def __init__(self, queue: bytes, partition: Partition) -> None:
        self.queue = queue
        self.partition = partition
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class LongPolls:
    """Everybody who waits for a queue of this worker's partitions."""

    def __init__(self) -> None:
        self._waiters: dict[bytes, set[_Waiter]] = {}
        self._waking: deque[_Waiter] = deque()
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._waiters.values()))

    def __bool__(self) -> bool:
        return bool(self._waiters)

    async def wait(self, queue: bytes, partition: Partition, timeout: float) -> None:
        """Wait until something was delivered to `queue`, at most `timeout` seconds.

        Look at the rows, and call this with no await in between: nothing is missed then.

        Raises:
            Unavailable: the partition is not this worker's any more, or the worker stops.
        """
        if self._closed:
            raise Unavailable("this worker is stopping")
        waiter = _Waiter(queue, partition)
        self._waiters.setdefault(queue, set()).add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter.future
        except TimeoutError:
            pass
        finally:
            # Also when the client went away: that cancels the wait.
            self._forget(waiter)

    def wake(self, queues: set[bytes] | None) -> None:
        """Say that something was delivered to `queues`; None means perhaps to any."""
        if not self._waiters:
            return
        if queues is None:
            woken: Iterable[bytes] = list(self._waiters)
        elif len(queues) < len(self._waiters):
            woken = [queue for queue in queues if queue in self._waiters]
        else:
            woken = [queue for queue in self._waiters if queue in queues]
        idle = not self._waking
        for queue in woken:
            self._waking.extend(self._waiters[queue])
        if idle and self._waking:
            self._wake_some()

    def end_lost(self, partition: Partition) -> None:
        """End the waits on a partition that does not answer reads any more."""
        for waiter in self._all():
            if waiter.partition is partition:
                self._end(waiter, "the partition of this queue is moving to another worker")

    def close(self) -> None:
        """End all waits: the worker stops."""
        self._closed = True
        for waiter in self._all():
            self._end(waiter, "this worker is stopping")

    def _all(self) -> list[_Waiter]:
        return [waiter for waiters in self._waiters.values() for waiter in waiters]

    @staticmethod
    def _end(waiter: _Waiter, reason: str) -> None:
        if not waiter.future.done():
            waiter.future.set_exception(Unavailable(reason))

    def _wake_some(self) -> None:
        for _ in range(min(WAKE_AT_ONCE, len(self._waking))):
            future = self._waking.popleft().future
            if not future.done():
                future.set_result(None)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _forget(self, waiter: _Waiter) -> None:
        waiters = self._waiters.get(waiter.queue)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[waiter.queue]
