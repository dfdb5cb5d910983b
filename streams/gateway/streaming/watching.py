"""Subscriptions that this worker serves from its own partitions, and how they are woken.

Knows no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from streams.gateway.ports import Partition
from streams.gateway.reads.readers import Readers
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.waiters import Waiters

MOST_DELETED: Final = 10_000
"""Deleted queues that are remembered for subscriptions that are just moving."""


class Watching:
    """These subscriptions of all connections, by queue."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._deleted: dict[bytes, int] = {}
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
        self._readers.begin(subscription.key)

    def remove(self, subscription: StreamSubscription) -> None:
        """Do not wake a subscription any more."""
        if self._waiters.remove(subscription.key, subscription):
            self._readers.end(subscription.key)

    def deleted(self, queues: Mapping[bytes, int]) -> None:
        """End the subscriptions of queues that were deleted, by a record at these offsets."""
        for queue, offset in queues.items():
            for subscription in list(self._waiters.of(queue)):
                if offset > subscription.written:
                    subscription.connection.deleted(subscription)
            self._deleted.pop(queue, None)
            self._deleted[queue] = offset
        while len(self._deleted) > MOST_DELETED:
            del self._deleted[next(iter(self._deleted))]

    def was_deleted(self, subscription: StreamSubscription) -> bool:
        """Tell whether the queue was deleted since the subscription began."""
        return self._deleted.get(subscription.key, -1) > subscription.written

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
