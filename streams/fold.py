"""What a fold and the engine that drives it agree on.

A fold is a pure function of (state, record), cut into objects for speed: its state is
the `Rows` of one table partition, and its results are row changes and `Output` records.
The engine knows nothing of what the rows mean; a fold knows nothing of Kafka, Faust or
RocksDB.  This module imports neither side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One record of a source topic, as it stands in the log."""

    partition: int
    offset: int
    timestamp: int
    """Milliseconds since the epoch, set by the broker (LogAppendTime)."""
    key: bytes | None
    value: bytes | None


class Output(NamedTuple):
    """One record that a fold wants appended to another topic."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    type: str
    """Name of the record type, for the Kafka header `type`."""


class BadRecord(Exception):
    """This record cannot be folded; its text is the reason that `dead-letters` will carry.

    A fold raises it before it has changed anything.
    """


class Rows(Protocol):
    """The rows of one table partition, each named by a bucket and a suffix.

    In the store a row's key is ``bucket + b"\\0" + suffix``; a bucket holds no NUL, a suffix
    may hold any bytes.  All rows of a bucket lie side by side, ordered by suffix.
    """

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None when there is no such row."""
        ...

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write the row, over whatever was there."""
        ...

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write rows (bucket, suffix, value), each over whatever was there."""
        ...

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Remove the row, if it is there."""
        ...

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order of suffix.

        With `after`, only suffixes strictly greater.  The scan sees the rows as they were
        when it began, whatever is written while it runs.
        """
        ...


class Fold(Protocol):
    """The fold of one open table partition.

    Row changes and outputs depend on the rows and on the order of the records alone;
    where one chunk ends and the next begins makes no difference to them.
    """

    work: deque[Iterator[None]]
    """What records have left to be done, oldest first: the engine runs it step by step when it
    has nothing more urgent, and takes each away when it has ended.  Until all of it has, the
    state must not be kept: it would be without the outputs that are still to come."""

    may_wait: bool
    """Whether its outputs may be sent some time later, in their order, when they are many."""

    ready: list[Output]
    """Finished outputs in order; the engine takes them and clears the list."""

    def apply(self, record: Record) -> Iterator[None] | None:
        """Fold one record.

        A record with much to do returns an iterator: the engine runs it to its end before
        the next record, and gives the event loop a turn between its steps.

        Raises:
            BadRecord: the record means nothing; nothing was changed.
        """
        ...

    def flush(self) -> None:
        """Move what is still being packed into `ready`: the chunk is over."""
        ...


FoldFactory = Callable[[Rows, int], Fold]
"""Makes the fold of one table partition from its rows and its number."""
