"""The chunks of one source partition that wait to be folded, in order and without gaps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from streams.engine.source import Chunk, Source


class SourceReader(Protocol):
    """What the queue needs of the source reader."""

    def assign(self, source: Source, offset: int, epoch: int) -> None:
        """Read a partition from `offset`; replaces an earlier assignment."""
        ...

    def unassign(self, source: Source) -> None:
        """Stop reading a partition."""
        ...

    def done(self, chunk: Chunk) -> None:
        """Count a delivered chunk as folded or dropped."""
        ...


class ChunkQueue:
    """Accepts chunks that continue each other, and has the source reread after a gap."""

    def __init__(self, source: Source, reader: SourceReader, next_epoch: Callable[[], int]) -> None:
        """Prepare; `next_epoch` returns a number that no earlier assignment has had."""
        self._source = source
        self._reader = reader
        self._next_epoch = next_epoch
        self._chunks: deque[Chunk] = deque()
        self._end = 0
        """The offset after the last chunk that was accepted."""
        self._epoch = 0

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def end(self) -> int:
        """The offset after the last chunk that was accepted."""
        return self._end

    def begin(self, offset: int) -> None:
        """Read the source from `offset`."""
        self._end = offset
        self.reread()

    def accept(self, chunk: Chunk) -> bool:
        """Queue a chunk; return False if it was dropped.

        If records are missing before it, the source is read again.
        """
        if chunk.epoch != self._epoch:
            self._reader.done(chunk)
            return False
        if chunk.begin > self._end:
            self._reader.done(chunk)
            self.reread()
            return False
        self._end = chunk.end
        self._chunks.append(chunk)
        return True

    @property
    def first(self) -> Chunk:
        """The first chunk, which stays in the queue."""
        return self._chunks[0]

    def take(self) -> Chunk:
        """Return the first chunk; call `done` with it when it is folded."""
        return self._chunks.popleft()

    def done(self, chunk: Chunk) -> None:
        """Count a chunk as folded."""
        self._reader.done(chunk)

    def reread(self) -> None:
        """Have the source read again from the end of the last chunk that was accepted."""
        self._epoch = self._next_epoch()
        for chunk in self._chunks:
            chunk.epoch = -1  # of an older assignment: the reader no longer counts its records
        self._reader.assign(self._source, self._end, self._epoch)

    def stop(self) -> None:
        """Stop reading, and drop what waits."""
        self._reader.unassign(self._source)
        self._epoch = 0
        for chunk in self._chunks:
            self._reader.done(chunk)
        self._chunks.clear()
