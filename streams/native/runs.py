"""Runs of the core over the plain records of a chunk, and its packer of Routed records.

The folds (`streams.folds.route`, `streams.folds.deliver`) make these objects if their rows are the
core's.  What a plain record is, the core decides; all others are folded in Python.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol, runtime_checkable

from streams.fold import Output, Record
from streams.native.library import ChunkPointers, Library

RECORDS_PER_STEP: Final = 500
"""Records folded in one step: about half a millisecond.  A message counts as more (`publish.h`)."""
ENTRIES_PER_STEP: Final = 2_000
"""Entries of Routed records folded in one step, and the rest of the last record."""
_RELEASED_FROM: Final = 64
"""Records of a chunk from which on the interpreter is released: it takes time to get it back."""
_PAUSED: Final = 0
_MISSING: Final = 2
_PACKED = struct.Struct("<III")
_COUNTS = struct.Struct("<qqq")


@runtime_checkable
class NativeTable(Protocol):
    """Rows that the core holds."""

    library: Library
    handle: int
    """The core's object; valid as long as the rows live."""

    def read_many(self, keys: list[bytes]) -> list[bytes | None]:
        """Return the values of raw keys in the database; None for a row that is not there."""
        ...


class CountsOfRoute(Protocol):
    """The counters of route; see `streams.folds.counts`."""

    binds: int
    unbinds: int
    deliveries: int
    messages: int
    duplicates: int


class CoreRun:
    """A run over one chunk (`streams.fold.FoldRun`)."""

    def __init__(
        self,
        table: NativeTable,
        records: Sequence[Record],
        name: str,
        most: int,
        options: Callable[[], tuple[int, ...]],
        told: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            name: the core's function.
            most: records or entries in a step.
            options: its last arguments.
            told: called after each step, to take what the core has to tell.
        """
        self._table = table
        self._options = options
        self._told = told
        self._most = most
        library = table.library
        self._run = getattr(library.held if len(records) < _RELEASED_FROM else library.free, name)
        # The core reads these: they must live as long as the pointers.
        _, offsets, times, keys, values = zip(*records, strict=True)
        self._joined, self._ends = [], []
        for column in (keys, values):
            if None in column:
                column = tuple([part or b"" for part in column])
            self._joined.append(b"".join(column))
            self._ends.append(array("q", accumulate(map(len, column))))
        self._offsets, self._times = array("q", offsets), array("q", times)
        self._chunk = ChunkPointers(
            self._joined[0],
            self._ends[0].buffer_info()[0],
            self._joined[1],
            self._ends[1].buffer_info()[0],
            self._offsets.buffer_info()[0],
            self._times.buffer_info()[0],
            len(records),
        )

    def step(self, first: int) -> tuple[int, int]:
        """Fold plain records from `first` on; see `streams.fold.FoldRun.step`.

        If it raises, or the run is given up half way, the rows must be dropped: the core still
        points to the records of this run.
        """
        following, others = ctypes.c_int64(first), ctypes.c_int64()
        handle, chunk = self._table.handle, ctypes.byref(self._chunk)
        options = self._options()
        places = ctypes.byref(following), ctypes.byref(others)
        for _ in range(2):  # many lookups take long: the rest is for the next step
            if self._run(handle, chunk, *places, self._most, *options) != _MISSING:
                break
            self._supply()
        self._told()
        return following.value, others.value

    def _supply(self) -> None:
        """Look up the rows that the core wants."""
        table, library = self._table, self._table.library.held
        values = table.read_many(library.rows_wanted(table.handle))
        sizes = array("i", [-1 if value is None else len(value) for value in values])
        joined = b"".join([value for value in values if value is not None])
        library.rows_supply(table.handle, sizes.buffer_info()[0], joined, len(joined))


class RouteCore:
    """The core's part of a route fold: plain records, and the packer of lane 0.

    As a packer it is what `streams.folds.packing.Packer` is.
    """

    def __init__(
        self,
        table: NativeTable,
        constants: Sequence[bytes],
        numbers: Sequence[int],
        topic: str,
        ready: list[Output],
        counts: CountsOfRoute,
    ) -> None:
        """Begin; constants and numbers are those that `route_begin` in `core.cpp` lists."""
        self._table = table
        self._core: Any = table.library.held
        self._topic = topic
        self._ready = ready
        self._counts = counts
        _begin(self._core.route_begin, table.handle, constants, numbers)

    def run(
        self,
        records: Sequence[Record],
        uncovered: Callable[[], bool],
        oldest: Callable[[], int],
    ) -> CoreRun:
        """Return a run over a chunk.

        Args:
            uncovered: tells whether no binding of the partition is covered.
            oldest: returns a log time; no remembered message id has an earlier one.
        """
        core, handle, counts = self._core, self._table.handle, self._counts
        messages, duplicates = ctypes.c_int64(), ctypes.c_int64()
        counted = ctypes.byref(messages), ctypes.byref(duplicates)

        def told() -> None:
            if core.packer_finished(handle):
                self._take()
            core.route_counted(handle, *counted)
            counts.messages += messages.value
            counts.duplicates += duplicates.value

        return CoreRun(
            self._table,
            records,
            "route_run",
            RECORDS_PER_STEP,
            lambda: (uncovered(), oldest()),
            told,
        )

    def change(
        self, target: int, offset: int, kind: int, group: bytes, queue: bytes, session: bytes
    ) -> None:
        """Add a binding that the record at `offset` made or dropped."""
        sized = group, len(group), queue, len(queue), session, len(session)
        if self._core.packer_change(self._table.handle, target, offset, kind, *sized):
            self._take()

    def delivery(
        self, target: int, offset: int, part: int, message: bytes, column: bytes, count: int
    ) -> None:
        """Add a message for `count` queues; `column` is their ids, each followed by a NUL."""
        sized = message, len(message), column, len(column), count
        if self._core.packer_delivery(self._table.handle, target, offset, part, *sized):
            self._take()

    def flush(self) -> None:
        """Close all open records, in order of their partitions."""
        if self._core.packer_flush(self._table.handle):
            self._take()

    def _take(self) -> None:
        packed = self._core.packer_take(self._table.handle)
        binds, unbinds, deliveries = _COUNTS.unpack_from(packed)
        counts = self._counts
        counts.binds += binds
        counts.unbinds += unbinds
        counts.deliveries += deliveries
        place, end = _COUNTS.size, len(packed)
        while place < end:
            target, size, more = _PACKED.unpack_from(packed, place)
            begin = place + _PACKED.size
            place = begin + size + more
            key, value = packed[begin : begin + size], packed[begin + size : place]
            self._ready.append(Output(self._topic, target, key, value, "Routed"))


class DeliverCore:
    """The core's part of a deliver fold: plain Routed records."""

    def __init__(
        self, table: NativeTable, constants: Sequence[bytes], numbers: Sequence[int]
    ) -> None:
        """Begin; constants and numbers are those that `deliver_begin` in `core.cpp` lists."""
        self._table = table
        _begin(table.library.held.deliver_begin, table.handle, constants, numbers)

    def run(
        self,
        records: Sequence[Record],
        options: Callable[[], bool],
        collect: Callable[[], bool],
        delivered: Callable[[int, list[bytes]], None],
    ) -> CoreRun:
        """Return a run over a chunk.

        Args:
            options: tells whether a queue of the partition has options.
            collect: tells whether the receivers are to be named.
            delivered: called with the number of deliveries, and their queues if they are collected.
        """
        core, handle = self._table.library.held, self._table.handle

        def told() -> None:
            count = core.deliver_delivered(handle)
            if count:
                delivered(count, core.deliver_receivers(handle)[:-1].split(b"\0"))

        return CoreRun(
            self._table,
            records,
            "deliver_run",
            ENTRIES_PER_STEP,
            lambda: (options(), collect()),
            told,
        )


def _begin(begin: Any, handle: int, constants: Sequence[bytes], numbers: Sequence[int]) -> None:
    ends = array("q", accumulate(map(len, constants)))
    values = array("q", numbers)
    begin(handle, b"".join(constants), ends.buffer_info()[0], values.buffer_info()[0])
