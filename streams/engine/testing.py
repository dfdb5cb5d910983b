"""A test kit for folds: rows in memory, and `check_fold`, which crashes and replays a fold.

Needs no Kafka, no Faust and no RocksDB; a check of a few hundred records takes milliseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from streams.fold import (
    BUCKET_SEPARATOR,
    BadRecord,
    Fold,
    FoldFactory,
    FoldRun,
    Output,
    Record,
    split_raw_key,
)


class MemoryDatabase:
    """Rows by their raw keys in a dict: what an overlay needs of a database."""

    def __init__(self, rows: Mapping[bytes, bytes] | None = None) -> None:
        self.rows = dict(rows or {})

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw key, or None."""
        return self.rows.get(key)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of raw keys."""
        return list(map(self.get, keys))

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order, as of this call."""
        return iter([row for row in sorted(self.rows.items()) if start <= row[0] < end])

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Write raw rows; None deletes one."""
        for key, value in rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


class MemoryRows:
    """The rows of one table partition in dicts (`streams.fold.Rows`)."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, dict[bytes, bytes]] = {}

    def get(self, bucket: bytes, suffix: bytes) -> bytes | None:
        """Return the row's value, or None when there is no such row."""
        rows = self._buckets.get(bucket)
        return None if rows is None else rows.get(suffix)

    def put(self, bucket: bytes, suffix: bytes, value: bytes) -> None:
        """Write the row, over whatever was there."""
        rows = self._buckets.get(bucket)
        if rows is None:
            self._buckets[bucket] = {suffix: value}
        else:
            rows[suffix] = value

    def put_many(self, rows: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Write rows (bucket, suffix, value), each over whatever was there."""
        for row in rows:
            self.put(*row)

    def delete(self, bucket: bytes, suffix: bytes) -> None:
        """Remove the row, if it is there."""
        rows = self._buckets.get(bucket)
        if rows is not None:
            rows.pop(suffix, None)
            if not rows:
                del self._buckets[bucket]

    def scan(self, bucket: bytes, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (suffix, value) of a bucket in ascending order, as they are at this call."""
        ordered = sorted(self._buckets.get(bucket, {}).items())
        if after is None:
            return iter(ordered)
        first = bisect_right(ordered, after, key=lambda row: row[0])
        return iter(ordered[first:])

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) of rows in ascending order of the raw key, after `after`."""
        return iter(
            sorted(
                (key, value)
                for bucket, rows in self._buckets.items()
                for suffix, value in rows.items()
                for key in [bucket + BUCKET_SEPARATOR + suffix]
                if after is None or key > after
            )
        )

    def copy(self) -> MemoryRows:
        """Return a copy that later changes do not touch."""
        twin = MemoryRows()
        twin._buckets = {bucket: dict(rows) for bucket, rows in self._buckets.items()}
        return twin

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))


class Folded(NamedTuple):
    """The result of folding some records."""

    rows: dict[bytes, bytes]
    """Value by raw key: ``bucket + b"\\0" + suffix``."""
    outputs: list[Output]
    bad: list[tuple[int, str]]
    """Offset and reason of each record that was refused with `BadRecord`."""


def records(*values: bytes | tuple[bytes | None, bytes | None], partition: int = 0) -> list[Record]:
    """Return records with these values, or (key, value) pairs, at offsets 0, 1, 2 and so on.

    Timestamps are a millisecond apart and start at one second.
    """
    pairs = (value if isinstance(value, tuple) else (None, value) for value in values)
    return [
        Record(partition, offset, 1_000 + offset, key, value)
        for offset, (key, value) in enumerate(pairs)
    ]


def fold_all(factory: FoldFactory, log: Sequence[Record], partition: int = 0) -> Folded:
    """Fold records as one chunk, from empty rows, and return the result."""
    rows = MemoryRows()
    outputs, bad = fold_chunk(factory(rows, partition), log)
    return Folded(dict(rows.items()), outputs, bad)


def check_fold(
    factory: FoldFactory,
    log: Sequence[Record],
    partition: int = 0,
    unpack: Callable[[Sequence[Output]], Any] = list,
) -> Folded:
    """Crash a fold after every record, replay, and compare with a run without a crash.

    A crash loses what the last checkpoint does not hold: a new fold gets the rows of the
    checkpoint and the records after it.  Several intervals between checkpoints are tried, so
    that each record is folded alone, in a longer chunk, and again after a crash.

    Args:
        factory: as given to `App.folded_table`.
        log: the records of one partition, in order.
        partition: the partition that `factory` is told.
        unpack: for a fold that packs several results into one output: returns what a list of
            outputs contains, however it is packed.

    Returns:
        The result of folding all records without a crash.

    Raises:
        AssertionError: the fold is not a function of its rows and the records. The text names
            the record and the difference.
    """
    states, said, bad = _reference(factory, log, partition)
    for interval in sorted({1, 2, 3, 7, max(1, len(log))}):
        start = 0
        for crash in range(1, len(log) + 1):
            rows = _rows_of(states[start])
            outputs, refused = fold_chunk(factory(rows, partition), log[start:crash])
            when = f"folded offsets {log[start].offset} to {log[crash - 1].offset} after a crash"
            expected = [output for outputs in said[start:crash] for output in outputs]
            _compare_rows(when, states[crash], dict(rows.items()))
            _compare(when, "outputs", unpack(expected), unpack(outputs))
            among = [one for one in bad if log[start].offset <= one[0] <= log[crash - 1].offset]
            _compare(when, "bad records", among, refused)
            if crash - start == interval:
                start = crash
    return Folded(states[-1], [output for outputs in said for output in outputs], bad)


def _reference(
    factory: FoldFactory, log: Sequence[Record], partition: int
) -> tuple[list[dict[bytes, bytes]], list[list[Output]], list[tuple[int, str]]]:
    """Fold each record as one chunk, without a crash.

    Returns the rows before the first record and after each, the outputs of each, and the bad
    ones.
    """
    rows = MemoryRows()
    fold = factory(rows, partition)
    states, said, bad = [dict(rows.items())], [], []
    for record in log:
        outputs, refused = fold_chunk(fold, [record])
        states.append(dict(rows.items()))
        said.append(outputs)
        bad += refused
        if refused:
            when = f"raised BadRecord at offset {record.offset}"
            _compare_rows(when, states[-2], states[-1])
            _compare(when, "outputs", [], outputs)
    return states, said, bad


def fold_chunk(fold: Fold, chunk: Sequence[Record]) -> tuple[list[Output], list[tuple[int, str]]]:
    """Fold a chunk as the engine does.

    Returns:
        the outputs, and offset and reason of each bad record.
    """
    bad = []
    # Not isinstance: of a protocol it costs more than the chunk, before Python 3.12.
    begin = getattr(fold, "begin_run", None)
    run: FoldRun | None = begin(chunk) if chunk and begin is not None else None
    first = 0
    while first < len(chunk):
        end = len(chunk)
        if run is not None:
            first, others = run.step(first)
            end = first + others
        for record in chunk[first:end]:
            try:
                steps = fold.apply(record)
            except BadRecord as exc:
                bad.append((record.offset, str(exc)))
                continue
            if steps is not None:
                for _ in steps:
                    pass
        first = end
    fold.flush()
    while fold.work:
        for _ in fold.work[0]:
            pass
        fold.work.popleft()
    fold.flush()
    outputs = list(fold.ready)
    fold.ready.clear()
    return outputs, bad


def _rows_of(state: dict[bytes, bytes]) -> MemoryRows:
    rows = MemoryRows()
    for key, value in state.items():
        bucket, suffix = split_raw_key(key)
        rows.put(bucket, suffix, value)
    return rows


def _compare_rows(when: str, expected: dict[bytes, bytes], found: dict[bytes, bytes]) -> None:
    for key in sorted(expected.keys() | found.keys()):
        one, other = expected.get(key), found.get(key)
        if one != other:
            raise AssertionError(f"{when}: row {key!r} is {other!r}, without a crash {one!r}")


def _compare(when: str, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise AssertionError(f"{when}: {what} are {found!r}, without a crash {expected!r}")
