"""What all AMQP connections of one worker know of each other."""

from __future__ import annotations

from collections import Counter, defaultdict

from streams.gateway.amqp.channel import Consumer
from streams.gateway.amqp.errors import ACCESS_REFUSED, AMQPError


class Registry:
    """The consumers of this worker's connections, by queue."""

    def __init__(self) -> None:
        self.connections: set[str] = set()
        """Names of the connections."""
        self.held: Counter[str] = Counter()
        """Unacknowledged messages of all connections, by queue."""
        self._consumers: dict[str, set[Consumer]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(map(len, self._consumers.values()))

    def count(self, queue: str) -> int:
        """Return how many consumers of a queue are connected to this worker."""
        return len(self._consumers.get(queue, ()))

    def consumer_begins(self, consumer: Consumer) -> None:
        """Note a consumer.

        Raises:
            AMQPError: 403, it or another one of this worker wants the queue for itself.
        """
        others = self._consumers.get(consumer.queue)
        if others and (consumer.exclusive or any(one.exclusive for one in others)):
            raise AMQPError(
                ACCESS_REFUSED, f"queue {consumer.queue!r} is in exclusive use, or cannot be"
            )
        self._consumers[consumer.queue].add(consumer)

    def consumer_ended(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        consumers = self._consumers.get(consumer.queue)
        if consumers is not None:
            consumers.discard(consumer)
            if not consumers:
                del self._consumers[consumer.queue]
