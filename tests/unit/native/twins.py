"""Two partitions that fold the same log, one in Python and one with the native core.

Whatever happens to both must leave the same rows, outputs and counters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.folding import Folder
from streams.engine.native_rows import open_rows
from streams.engine.overlay import ChangedRows, FrozenRows
from streams.engine.progress import PartitionSpec, Progress
from streams.engine.source import Chunk
from streams.engine.testing import MemoryDatabase
from streams.fold import Fold, Output, Record, Rows
from streams.native import Library, is_available, load

needs_core = pytest.mark.skipif(not is_available(), reason="the native core is not built")


def core() -> Library:
    library = load("on")
    assert library is not None
    return library


class Below(MemoryDatabase):
    """A database of a dictionary that counts its reads."""

    reads = 0

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return super().get(key)


class Shell:
    """What surrounds a folder: it keeps outputs and dead letters."""

    def __init__(self) -> None:
        self.loop = LOOP
        self.sent: list[Output] = []
        self.bad: list[tuple[int, str]] = []
        room = asyncio.Event()
        room.set()
        self.runtime = SimpleNamespace(
            outputs=SimpleNamespace(send=self._send),
            pacer=SimpleNamespace(room=room, send=lambda outputs, _: self.sent.extend(outputs)),
        )

    async def _send(self, outputs: Sequence[Output], _tracker: Any) -> None:
        self.sent.extend(outputs)

    async def dead_letter(self, _topic: str, record: Record, reason: str, _tracker: Any) -> None:
        self.bad.append((record.offset, reason))


LOOP = asyncio.new_event_loop()


@dataclass
class Twin:
    """One of the two partitions."""

    make: Callable[[Rows], Fold]
    library: Library | None
    below: Below = field(default_factory=Below)
    position: int = 0
    saved: int = 0
    saving: tuple[FrozenRows, int] | None = None
    """The frozen rows of a checkpoint that has begun, and its position."""

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self.rows: ChangedRows = open_rows(self.below, self.library)
        self.fold = self.make(self.rows)
        self.progress = Progress(position=self.position)
        self.shell = Shell()
        spec = PartitionSpec("t", 0, "in", "changelog", lambda rows, _: self.make(rows), Path())
        context: Any = self.shell
        self.folder = Folder(context, spec, self.fold, self.progress)

    def feed(self, records: Sequence[Record]) -> tuple[list[Output], list[tuple[int, str]]]:
        """Fold a chunk; return outputs, and offset and reason of bad records."""
        end = records[-1].offset + 1
        chunk = Chunk("in", 0, records[0].offset, end, list(records), end, 1)
        LOOP.run_until_complete(self._fold(chunk))
        self.position = self.progress.position
        sent, bad = self.shell.sent, self.shell.bad
        self.shell.sent, self.shell.bad = [], []
        return sent, bad

    async def _fold(self, chunk: Chunk) -> None:
        await self.folder.fold_chunk(chunk)
        await self.folder.finish_work()

    def freeze(self) -> list[tuple[bytes, bytes | None]]:
        """Begin a checkpoint; return its rows."""
        if self.saving is not None:
            self.thaw()
        frozen = self.rows.freeze()
        self.saving = frozen, self.position
        return sorted(frozen.rows())

    def thaw(self) -> None:
        """End the checkpoint that has begun, if one has."""
        if self.saving is not None:
            frozen, self.saved = self.saving
            self.saving = None
            self.below.write(frozen.rows())
            self.rows.thaw()
            frozen.dispose()

    def crash(self) -> None:
        """Begin again from the last checkpoint."""
        self.saving = None
        self.position = self.saved
        self._open()

    @property
    def state(self) -> tuple[list[tuple[bytes, bytes]], int, int]:
        return list(self.rows.items()), self.rows.pending, self.rows.pending_bytes


class Twins:
    """Both, and the log that they fold."""

    def __init__(self, make: Callable[[Rows], Fold]) -> None:
        self.python = Twin(make, None)
        self.native = Twin(make, core())
        self.log: list[Record] = []

    def feed(self, records: Sequence[tuple[bytes | None, bytes | None]], again: int = 0) -> None:
        """Fold a chunk of (key, value), after what both have not folded since a crash."""
        for key, value in records:
            offset = len(self.log)
            self.log.append(Record(0, offset, 1_000 + offset, key, value))
        # The reader may deliver records again that are folded already.
        chunk = self.log[max(0, self.python.position - again) :]
        expected, found = self.python.feed(chunk), self.native.feed(chunk)
        assert found == expected
        self.check()

    def checkpoint(self) -> None:
        """Begin a checkpoint; end the one before."""
        expected, found = self.python.freeze(), self.native.freeze()
        assert found == expected
        self.check()

    def end_checkpoint(self) -> None:
        for twin in (self.python, self.native):
            twin.thaw()
        self.check()

    def crash(self) -> None:
        for twin in (self.python, self.native):
            twin.crash()
        self.check()

    def check(self) -> None:
        assert self.native.state == self.python.state
        assert self.native.position == self.python.position
