"""Who reads which queue at this worker: streams, server-sent events, long polls and plain reads.

Reading is use, so a queue that is read does not end by its TTL; and when a queue is deleted, its
readers are told.  Knows queue ids, not rows and not HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Reader:
    """One request that reads a queue."""

    __slots__ = ("deleted",)

    def __init__(self) -> None:
        self.deleted = False
        """Whether the queue was deleted since the request began."""


class Readers:
    """The readers of all queues of this worker's partitions."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._requests: dict[bytes, set[Reader]] = {}
        self.on_read: Callable[[bytes], None] = lambda queue: None
        """Called with a queue whenever a reader begins or ends."""

    def is_read(self, queue: bytes) -> bool:
        """Tell whether a queue has a reader now."""
        return queue in self._counts

    def begin(self, queue: bytes) -> None:
        """Count one more reader of a queue."""
        self._counts[queue] = self._counts.get(queue, 0) + 1
        self.on_read(queue)

    def end(self, queue: bytes) -> None:
        """Count one reader less."""
        left = self._counts.get(queue, 0) - 1
        if left > 0:
            self._counts[queue] = left
        elif self._counts.pop(queue, None) is not None:
            self.on_read(queue)

    @contextmanager
    def reading(self, queue: bytes) -> Iterator[Reader]:
        """Count a request as a reader for the duration of the block."""
        reader = Reader()
        self._requests.setdefault(queue, set()).add(reader)
        self.begin(queue)
        try:
            yield reader
        finally:
            self.end(queue)
            together = self._requests[queue]
            together.discard(reader)
            if not together:
                del self._requests[queue]

    def deleted(self, queues: Iterable[bytes]) -> None:
        """Tell the requests that read these queues that they were deleted; wake them next."""
        for queue in queues:
            for reader in self._requests.get(queue, ()):
                reader.deleted = True
