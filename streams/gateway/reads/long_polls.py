"""Requests that wait for the next message of a queue.

Knows queue ids and partitions, not rows and not HTTP.
"""

from __future__ import annotations

import asyncio

from streams.errors import Unavailable
from streams.gateway.ports import Partition
from streams.gateway.waiters import Waiters


class _LongPoll:
    __slots__ = ("future", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, reason: str) -> None:
        if not self.future.done():
            self.future.set_exception(Unavailable(reason))


class LongPolls:
    """All requests that wait for a queue of this worker's partitions."""

    def __init__(self) -> None:
        self._waiters: Waiters[_LongPoll] = Waiters(_LongPoll.wake)
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiters)

    def __bool__(self) -> bool:
        return bool(self._waiters)

    async def wait(self, queue: bytes, partition: Partition, timeout: float) -> None:
        """Wait until `queue` gets something, at most `timeout` seconds.

        Nothing is missed if the caller reads the rows and calls this with no await in between.

        Raises:
            Unavailable: this worker has lost the partition, or is stopping.
        """
        if self._closed:
            raise Unavailable("this worker is stopping")
        poll = _LongPoll(partition)
        self._waiters.add(queue, poll)
        try:
            async with asyncio.timeout(timeout):
                await poll.future
        except TimeoutError:
            pass
        finally:
            # Runs on cancellation too: that is how a disconnecting client ends its wait.
            self._waiters.remove(queue, poll)

    def wake(self, queues: set[bytes] | None) -> None:
        """Wake the requests that wait for queues that got something; None wakes all."""
        self._waiters.wake(queues)

    def end_lost(self, partition: Partition, reason: str) -> None:
        """End the waits for a partition that this worker has lost, and tell them the reason."""
        for poll in self._waiters.all():
            if poll.partition is partition:
                poll.fail(reason)

    def close(self) -> None:
        """End all waits: the worker is stopping."""
        self._closed = True
        for poll in self._waiters.all():
            poll.fail("this worker is stopping")
