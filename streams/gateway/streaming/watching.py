"""Subscriptions that this worker serves from its own partitions, and how they are woken.

Knows no rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from streams.gateway.ports import Partition
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.waiters import Waiters


class Watching:
    """These subscriptions of all connections, by queue."""

    def __init__(self) -> None:
        self._waiters: Waiters[StreamSubscription] = Waiters(_mark)
        self.wake = self._waiters.wake
        """Wake the subscribers of queues that got something; None wakes all."""

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, subscription: StreamSubscription) -> None:
        """Wake a subscription from now on."""
        self._waiters.add(subscription.key, subscription)

    def remove(self, subscription: StreamSubscription) -> None:
        """Do not wake a subscription any more."""
        self._waiters.remove(subscription.key, subscription)

    def again(self, deliveries: Iterable[tuple[bytes, int]]) -> None:
        """Note deliveries that are available again under their old seqs; call `wake` next."""
        for queue, seq in deliveries:
            for subscription in self._waiters.of(queue):
                subscription.came_back(seq)

    def lost(self, partition: Partition) -> None:
        """Move the subscriptions of a partition that cannot be read here any more."""
        for subscription in self._waiters.all():
            if subscription.local is partition:
                subscription.connection.lost(subscription)


def _mark(subscription: StreamSubscription) -> None:
    if subscription.local is not None:
        subscription.connection.mark(subscription)
