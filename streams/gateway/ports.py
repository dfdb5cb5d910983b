"""What the gateway needs of the rest of the worker, and no more.

The engine meets these protocols; the gateway's tests of pure pieces need none of it.
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


RecordMetadata: TypeAlias = tuple[int, int]
"""Partition and offset, as Kafka confirmed them."""


class RawRows(Rows, Protocol):
    """Rows that can also be walked in the order of their raw keys."""

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) in ascending order of key, strictly after `after`."""
        ...


class Stored(Protocol):
    """The rows of a partition in its database."""

    def walk(
        self, start: bytes, end: bytes, limit: int, most_deleted: int, /
    ) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return at most `limit` rows by raw key, and whether it gave up for deleted ones."""
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
        """Whether the rows are complete, so that a read may be answered from them."""
        ...

    @property
    def position(self) -> int:
        """Next offset of the source topic to be folded."""
        ...

    @property
    def folding(self) -> bool:
        """Whether a chunk is half folded, so that rows are ahead of `position`."""
        ...

    @property
    def stored(self) -> Stored:
        """The rows of the last checkpoint, in the database."""
        ...

    @property
    def rows(self) -> RawRows:
        """The rows; read them only while `ready`, and keep no iterator over an await."""
        ...

    async def reached(self, offset: int, timeout: float) -> bool:
        """Wait until `position` is beyond `offset`; False when `timeout` seconds passed."""
        ...


class Checkpoint(Protocol):
    """A checkpoint that is durable."""

    @property
    def name(self) -> str:
        """Table and partition, as in `queues/3`."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it wrote."""
        ...

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...


class Publisher(Protocol):
    """Appends records to topics; what it returns, Kafka has."""

    def publish(
        self, topic: str, key: bytes, value: bytes, kind: str, /
    ) -> Awaitable[RecordMetadata]:
        """Append one record.

        Raises:
            Unavailable: Kafka did not confirm it; it may be there or not.
            TooLarge: over the limit of the topic; it was not sent.
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
        """Where all publishing goes; there once the engine has started."""
        ...

    def partition(self, table: str, number: int) -> Partition | None:
        """Return the partition if this worker owns it, in whatever state."""
        ...

    def open_partitions(self) -> Iterable[Partition]:
        """Return the partitions that this worker owns, in whatever state."""
        ...

    def owner(self, table: str, number: int) -> str | None:
        """Return the base URL of the owner by the last assignment, None when unknown."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what `/v1/cluster` shows."""
        ...

    def measures(self) -> dict[str, Any]:
        """Return what `/metrics` shows besides: sizes, queues and totals."""
        ...
