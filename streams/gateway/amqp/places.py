"""What one connection has sent, by place in the logs: a later look at a queue must not miss it.

A message is in the log of its group first, and later in that of each queue.  Pure; asks nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.gateway.ports import RecordMetadata, RecordToSend
from streams.kafka.partitioner import partition_of


class Sent(NamedTuple):
    """The last record that a partition of group-events has of the connection."""

    group: str
    """A group of that partition."""
    offset: int


class Places:
    """The last places of one connection; no more than there are pairs of partitions."""

    def __init__(self, queue_events: str, partitions: int) -> None:
        """Take the topic of queues, and how many partitions each topic has."""
        self._queue_events = queue_events
        self._partitions = partitions
        self._sent: dict[int, Sent] = {}
        self._marked: dict[tuple[int, int], int] = {}
        self._reached: dict[int, int] = {}

    def confirmed(self, record: RecordToSend, metadata: RecordMetadata) -> None:
        """Note a record that Kafka has confirmed."""
        partition, offset = metadata
        if record.topic == self._queue_events:
            self._reach(partition, offset)
        elif partition not in self._sent or offset > self._sent[partition].offset:
            self._sent[partition] = Sent(record.key.decode(), offset)

    def unmarked(self, queue: str) -> list[tuple[int, Sent]]:
        """Return, with their partitions, the places that the log of a queue may still lack."""
        number = self._number(queue)
        return [
            (source, sent)
            for source, sent in self._sent.items()
            if sent.offset > self._marked.get((source, number), -1)
        ]

    def marked(self, queue: str, source: int, sent: Sent, offset: int) -> None:
        """Note that the log of a queue has, before an offset, all up to a place of group-events."""
        number = self._number(queue)
        self._marked[source, number] = max(sent.offset, self._marked.get((source, number), -1))
        self._reach(number, offset)

    def read_at(self, queue: str) -> int:
        """Return the offset that must be folded before the queue is looked at; -1 for any."""
        return self._reached.get(self._number(queue), -1)

    def _reach(self, number: int, offset: int) -> None:
        self._reached[number] = max(offset, self._reached.get(number, -1))

    def _number(self, queue: str) -> int:
        return partition_of(queue.encode(), self._partitions)
