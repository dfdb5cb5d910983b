"""Subscriptions that this worker serves from its own partitions, and how they are woken.

Nothing is polled: the fold reports which queues got something.  Knows no rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from streams.gateway.ports import Partition
from streams.gateway.streaming.subscription import StreamSubscription

WAKE_AT_ONCE = 50
"""Subscriptions woken in one turn of the event loop; each of them reads rows."""


class Watching:
    """These subscriptions of all connections, by queue."""

    def __init__(self) -> None:
        self._by_queue: dict[bytes, set[StreamSubscription]] = {}
        self._waking: deque[StreamSubscription] = deque()

    def __bool__(self) -> bool:
        return bool(self._by_queue)

    def __len__(self) -> int:
        return sum(map(len, self._by_queue.values()))

    def add(self, subscription: StreamSubscription) -> None:
        """Wake a subscription from now on."""
        self._by_queue.setdefault(subscription.key, set()).add(subscription)

    def remove(self, subscription: StreamSubscription) -> None:
        """Do not wake a subscription any more."""
        watching = self._by_queue.get(subscription.key)
        if watching is not None:
            watching.discard(subscription)
            if not watching:
                del self._by_queue[subscription.key]

    def wake(self, queues: set[bytes] | None) -> None:
        """Wake the subscribers of queues that got something; None wakes all."""
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

    def again(self, deliveries: Iterable[tuple[bytes, int]]) -> None:
        """Note deliveries that are available again under their old seqs; call `wake` next."""
        for queue, seq in deliveries:
            for subscription in self._by_queue.get(queue, ()):
                subscription.came_back(seq)

    def lost(self, partition: Partition) -> None:
        """Move the subscriptions of a partition that cannot be read here any more."""
        served = [s for watching in self._by_queue.values() for s in watching]
        for subscription in served:
            if subscription.local is partition:
                subscription.connection.lost(subscription)

    def _wake_some(self) -> None:
        for _ in range(min(WAKE_AT_ONCE, len(self._waking))):
            subscription = self._waking.popleft()
            if subscription.local is not None:
                subscription.connection.mark(subscription)
        if self._waking:
            asyncio.get_running_loop().call_soon(self._wake_some)
