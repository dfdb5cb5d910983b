"""The rows of a live table, read from its changelog up to a whole checkpoint.

They go to RocksDB databases in a folder of the caller's choice, so that memory does not depend
on the size of the table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from streams.engine.changelog import MARKER, unpack_marker
from streams.engine.database import Database, Resources
from streams.engine.overlay import OverlayRows
from streams.errors import Unavailable
from streams.operate.backup.committed import CommittedReader
from streams.settings import Settings

CHECKPOINT_SECONDS: Final = 120.0
"""How long the checkpoints of workers may make no progress, beside the time between two."""
_PAUSE_SECONDS: Final = 0.2
_ROWS_PER_WRITE: Final = 2_000

Report = Callable[[int], None]
"""Receives the number of rows read since the last call."""


class TableSnapshot:
    """All partitions of one table, each as of one of its checkpoints; a context manager."""

    def __init__(
        self, settings: Settings, table: str, partitions: int, folder: Path, shared: Resources
    ) -> None:
        """Make empty databases below `folder`; read nothing yet."""
        self.table = table
        self._patience = CHECKPOINT_SECONDS + 2 * settings.checkpoint_seconds
        self._shared, self._folder = shared, folder
        self._stack = ExitStack()
        self._reader = self._stack.enter_context(
            CommittedReader(settings.librdkafka(), settings.changelog(table))
        )
        self.databases = [self._open(f"{table}-{number}") for number in range(partitions)]

    def __enter__(self) -> TableSnapshot:
        """Return the snapshot itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close client and databases."""
        self._stack.close()

    @property
    def positions(self) -> list[int]:
        """The source offset of each partition's checkpoint.

        Raises:
            Unfinished: the namespace is being filled by an import.
        """
        return [unpack_marker(database.get(MARKER)) or 0 for database in self.databases]

    def rows(self, partition: int) -> OverlayRows:
        """Return rows of a partition for a fold; `save` writes what it changes."""
        return OverlayRows(self.databases[partition])

    def save(self, partition: int, rows: OverlayRows) -> None:
        """Write what a fold has changed to the database."""
        database = self.databases[partition]
        database.write(rows.freeze().rows(), database.next_offset, 0, bytes(16))
        rows.thaw()

    def scratch(self, partition: int) -> SortedScratch:
        """Return an empty scratch for a partition."""
        return SortedScratch(self._open(f"scratch-{partition}"))

    def catch_up(self, report: Report = lambda _: None) -> None:
        """Read each changelog to its last whole checkpoint.

        Raises:
            Unavailable: Kafka does not answer, or keeps records back.
        """
        starts, ends = {}, {}
        for number, database in enumerate(self.databases):
            low, end = self._reader.bounds(number)
            starts[number], ends[number] = max(low, database.next_offset), end
        for batch in self._reader.read(starts, ends):
            for number, messages in batch.items():
                rows = [(message.key(), message.value()) for message in messages]
                offset = messages[-1].offset()
                assert offset is not None
                database = self.databases[number]
                database.write(rows, offset + 1, 0, bytes(16))  # type: ignore[arg-type]
                report(len(rows))
        for number, database in enumerate(self.databases):
            database.next_offset = max(database.next_offset, ends[number])

    def wait_for(self, places: list[int], report: Report = lambda _: None) -> None:
        """Read on until each partition's checkpoint has reached a place in its source.

        Raises:
            Unavailable: the workers write no checkpoint that far, or Kafka does not answer.
        """
        best, since = -1, time.monotonic()
        while True:
            self.catch_up(report)
            positions = self.positions
            late = [n for n, place in enumerate(places) if positions[n] < place]
            if not late:
                return
            if sum(positions) > best:
                best, since = sum(positions), time.monotonic()
            if time.monotonic() - since > self._patience:
                number = late[0]
                raise Unavailable(
                    f"the workers do not get on: {self.table} {number} is saved up to"
                    f" {positions[number]}, and its log goes to {places[number]}; an export needs"
                    " workers that run, see `streams cluster`"
                )
            time.sleep(_PAUSE_SECONDS)

    def _open(self, name: str) -> Database:
        database = Database(self._folder / name, self._shared)
        self._stack.callback(database.close)
        return database


class SortedScratch:
    """Sorts inboxes by the name of the message that they share, in a database of its own."""

    def __init__(self, database: Database) -> None:
        """Use an empty database."""
        self._database = database
        self._waiting: list[tuple[bytes, bytes | None]] = []
        self._count = 0

    def add(self, name: bytes, receiver: bytes) -> None:
        """Add an inbox."""
        self._count += 1
        self._waiting.append((b"\1" + name + self._count.to_bytes(8, "big"), receiver))
        if len(self._waiting) == _ROWS_PER_WRITE:
            self._write()

    def sorted(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (name, inbox), those with the same name together."""
        self._write()
        for key, receiver in self._database.scan(b"\1", b"\2"):
            yield key[1:9], receiver

    def _write(self) -> None:
        self._database.write(self._waiting, 0, 0, bytes(16))
        self._waiting = []
