"""Whatever waits for news of a queue: long polls, and the subscriptions of streams.

Nothing is polled: the fold reports which queues got something.  Knows queue ids, not rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

WAKE_AT_ONCE = 50
"""Waiters woken in one turn of the event loop; each of them reads rows."""


class Waiters(Generic[T]):
    """Waiters by queue, woken a few at a time."""

    def __init__(self, wake_one: Callable[[T], None]) -> None:
        """Take what wakes one waiter; it must tolerate one that has been removed."""
        self._wake_one = wake_one
        self._by_queue: dict[bytes, set[T]] = {}
        self._waking: deque[T] = deque()

    def __bool__(self) -> bool:
        return bool(self._by_queue)

    def __len__(self) -> int:
        return sum(map(len, self._by_queue.values()))

    def all(self) -> list[T]:
        """Return all waiters."""
        return [waiter for waiters in self._by_queue.values() for waiter in waiters]

    def of(self, queue: bytes) -> Iterable[T]:
        """Return the waiters of one queue; do not add or remove any while iterating."""
        return self._by_queue.get(queue, ())

    def add(self, queue: bytes, waiter: T) -> None:
        """Wake a waiter whenever its queue gets something."""
        self._by_queue.setdefault(queue, set()).add(waiter)

    def remove(self, queue: bytes, waiter: T) -> bool:
        """Do not wake a waiter any more; False if it is not here."""
        waiters = self._by_queue.get(queue)
        if waiters is None or waiter not in waiters:
            return False
        waiters.remove(waiter)
        if not waiters:
            del self._by_queue[queue]
        return True

    def wake(self, queues: set[bytes] | None) -> None:
        """Wake the waiters of queues that got something; None wakes all."""
        by_queue = self._by_queue
        if not by_queue:
            return
        if queues is None:
            woken: Iterable[bytes] = list(by_queue)
        elif len(queues) < len(by_queue):
            woken = [queue for queue in queues if queue in by_queue]
        else:
            woken = [queue for queue in by_queue if queue in queues]
        idle = not self._waking
        for queue in woken:
            self._waking.extend(by_queue[queue])
        if idle and self._waking:
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(WAKE_AT_ONCE, len(self._waking))):
            self._wake_one(self._waking.popleft())
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)
