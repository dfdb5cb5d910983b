"""The contract between a fold and the engine that drives it.

A fold is a pure function of (state, record), split into objects for speed: its state is
the `Rows` of one table partition, and its results are row changes and `Output` records.
The engine does not know what the rows mean; a fold does not know Kafka, Faust or RocksDB.
This module imports neither side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class Record(NamedTuple):
    """One record of a source topic."""

    partition: int
    offset: int
    timestamp: int
    """Milliseconds since the epoch, set by the broker (LogAppendTime)."""
    key: bytes | None
    value: bytes | None


class Output(NamedTuple):
    """One record that a fold wants appended to a topic."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    type: str
    """Name of the record type; becomes the Kafka header `type`."""


class BadRecord(Exception):
    """This record cannot be folded and goes to the dead letters; the text says why.

    A fold must raise it before it changes anything.
    """


class NotKnownYet(BadRecord):
    """The record cannot be read now; later it might be readable."""


BUCKET_SEPARATOR = b"\0"
"""Between bucket and suffix in the raw key of a row."""


def split_raw_key(key: bytes) -> tuple[bytes, bytes]:
    """Return bucket and suffix of a raw key."""
    bucket, _, suffix = key.partition(BUCKET_SEPARATOR)
    return bucket, suffix


class Rows(Protocol):
    """The rows of one table partition, each identified by a bucket and a suffix.

    In the store a row's key is ``bucket + b"\\0" + suffix``.  A bucket must not contain NUL; a
    suffix may contain any bytes.  The rows of a bucket are adjacent and ordered by suffix.
    """

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the value of a row, or None if the row does not exist."""
        ...

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Create or replace a row."""
        ...

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Create or replace rows, given as (bucket, suffix, value)."""
        ...

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Delete a row if it exists."""
        ...

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order of suffix.

        With `after`, only greater suffixes.  The scan sees the rows as they were when it
        began; later writes do not affect it.
        """
        ...


class Fold(Protocol):
    """The fold of one open table partition.

    Row changes and outputs must depend only on the rows and on the order of the records, not
    on where one chunk ends and the next begins.
    """

    work: deque[Iterator[None]]
    """Work that records have left for later, oldest first.

    The engine runs it step by step when nothing is more urgent, and removes each iterator when
    it has ended.  There is no checkpoint before all work has ended, since outputs that are
    still to come would be lost with a crash."""

    may_wait: bool
    """Whether outputs may be delayed, in their order, while many are waiting."""

    ready: list[Output]
    """Finished outputs in order; the engine sends them and clears the list."""

    def apply(self, record: Record) -> Iterator[None] | None:
        """Fold one record.

        For a record with much to do, return an iterator: the engine runs it to its end before
        the next record, and yields to the event loop between its steps.

        Raises:
            BadRecord: the record cannot be folded; nothing was changed.
            streams.errors.TooNew: this program must not fold the partition; a newer one can.
        """
        ...

    def flush(self) -> None:
        """Move outputs that are still being packed to `ready`: the chunk has ended."""
        ...


class FoldRun(Protocol):
    """A run of a fold over one chunk, many records at a time."""

    def step(self, first: int) -> tuple[int, int]:
        """Fold records from index `first` on, for about a millisecond.

        Returns:
            the index of the first record that is not folded, and how many records from there
            on must be given to `Fold.apply`; 0 if `step` can go on.
        """
        ...


@runtime_checkable
class RunningFold(Fold, Protocol):
    """A fold that can fold many records at a time."""

    def begin_run(self, records: Sequence[Record]) -> FoldRun | None:
        """Begin a run over a chunk; None if `apply` must fold all of it.

        Rows and outputs are those of `apply` for each record, and so is their order.
        """
        ...


@runtime_checkable
class LevelledFold(Fold, Protocol):
    """A fold whose behaviour has levels: the log says which one counts from an offset on.

    The factory and `apply` raise `streams.errors.TooNew` at a level that they do not know.
    """

    @property
    def level(self) -> int:
        """The level that the partition is folded with now."""
        ...


FoldFactory = Callable[[Rows, int], Fold]
"""Creates the fold of one table partition from its rows and its number."""
