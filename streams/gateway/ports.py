"""The protocols through which the gateway sees the rest of the worker.

The engine implements them; unit tests of the gateway do without the engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeAlias

from streams.fold import Rows


class RecordToSend(NamedTuple):
    """An encoded event, ready for its topic."""

    topic: str
    key: bytes
    value: bytes
    type: str
    """Name of the event, for the record's `type` header."""
    message_id: str = ""
    """Of a Message: its id, which may have been generated."""
    events: int = 1
    """How many events it causes, itself included: what a rate limit counts."""
    seq: int = 0
    """The highest seq of a delivery that it names; 0 if it names none."""


RecordMetadata: TypeAlias = tuple[int, int]
"""Partition and offset of a record that Kafka has confirmed."""


class RawRows(Rows, Protocol):
    """Rows that can also be listed in the order of their raw keys."""

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) in ascending order of key, strictly after `after`."""
        ...


class Stored(Protocol):
    """The rows of a partition in its database."""

    def walk(
        self, start: bytes, end: bytes, limit: int, most_deleted: int, /
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return at most `limit` rows by raw key, and whether deleted rows ended the walk."""
        ...

    def compact_deleted(self) -> None:
        """Have deleted rows compacted away soon; blocks for some seconds, for any thread."""
        ...


class Partition(Protocol):
    """One table partition that this worker owns."""

    @property
    def table(self) -> str:
        """Name of the table, `members` or `queues`."""
        ...

    @property
    def number(self) -> int:
        """Number of the partition."""
        ...

    @property
    def ready(self) -> bool:
        """Whether the rows are complete, so that they may be read."""
        ...

    @property
    def position(self) -> int:
        """Next offset of the source topic to fold."""
        ...

    @property
    def folding(self) -> bool:
        """Whether a chunk is being folded, so that rows are ahead of `position`."""
        ...

    @property
    def stored(self) -> Stored:
        """The rows in the database: those of the last checkpoint."""
        ...

    @property
    def rows(self) -> RawRows:
        """The current rows; read them only while `ready`, and keep no iterator across an await."""
        ...

    async def reached(self, offset: int, timeout: float) -> bool:
        """Wait until `position` is beyond `offset`; False after `timeout` seconds."""
        ...


class Checkpoint(Protocol):
    """A finished checkpoint."""

    @property
    def name(self) -> str:
        """Table and partition, as in `queues/3`."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows written."""
        ...

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        ...


class Publisher(Protocol):
    """Appends records to topics; returns once Kafka has confirmed them."""

    def publish(
        self, topic: str, key: bytes, value: bytes, kind: str, /
    ) -> Awaitable[RecordMetadata]:
        """Append one record.

        Raises:
            Unavailable: Kafka did not confirm the record; it may have been appended or not.
            TooLarge: the record is over the limit of the topic, and was not sent.
        """
        ...

    def publish_many(
        self, events: list[tuple[str, bytes, bytes, str]], /
    ) -> Awaitable[list[RecordMetadata]]:
        """Append (topic, key, value, type) events in order; raises as `publish`."""
        ...


class Engine(Protocol):
    """The part of a worker that folds partitions."""

    @property
    def publisher(self) -> Publisher:
        """What appends client events; available once the engine has started."""
        ...

    def mark(
        self, topic: str, partition: int, key: bytes, value: bytes, kind: str, /
    ) -> Awaitable[int]:
        """Append a record after all outputs that folds of this worker have sent; return its offset.

        Raises:
            Unavailable: nothing was sent.
        """
        ...

    def topic_id(self, topic: str) -> bytes:
        """Return Kafka's id of an event topic; available once the engine has started."""
        ...

    def partition(self, table: str, number: int) -> Partition | None:
        """Return the partition if this worker owns it, in whatever state."""
        ...

    def open_partitions(self) -> Iterable[Partition]:
        """Return the partitions that this worker owns, in whatever state."""
        ...

    def owner(self, table: str, number: int) -> str | None:
        """Return the base URL of the owner in the last assignment; None if unknown."""
        ...

    def unreadable(self, table: str, number: int) -> str:
        """Return why a partition that is not ready here cannot be read, for the client."""
        ...

    def pause(self, seconds: float) -> float:
        """Return how long something done every `seconds` may rest: longer without Kafka."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the status that `/v1/cluster` shows."""
        ...

    def internals(self) -> dict[str, Any]:
        """Return what the worker is doing and waiting for, for `/v1/cluster?debug=1`."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Return what only `/metrics` shows: sizes, queue lengths and totals."""
        ...
