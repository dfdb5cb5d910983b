"""Queues with options: the options, and the counters that they need.

Each has a row in the bucket ``o`` under the queue's id: 8 bytes each for the number of
deliveries, the bytes of their messages, when the queue was last used, and when its timer for
that is due (0 for none); a byte that is 1 for a job queue; and the Configure that set the
options.  Most queues have no such row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from struct import Struct
from typing import Final, cast

from streams.events.codec import decode, encode
from streams.events.records import Configure
from streams.fold import Rows
from streams.folds.row_keys import OPTIONS

DROP_OLDEST: Final = "drop_oldest"
REJECT: Final = "reject"

DEFAULT_VISIBILITY_MS: Final = 30_000

_CACHED: Final = 50_000
_counted = Struct(">QQQQB")


@dataclass(slots=True)
class Queue:
    """A queue with options, and its counters."""

    options: Configure
    length: int = 0
    """Deliveries, including leased and held ones."""
    size: int = 0
    """Bytes of their messages."""
    used: int = 0
    due: int = 0
    jobs: bool = False
    """Whether consumers compete for it, so that available deliveries are indexed."""

    def has_options(self) -> bool:
        """Tell whether any option differs from its default: a Lease makes a row without."""
        return replace(self.options, at=0) != Configure(self.options.queue)

    def has_room(self, size: int) -> bool:
        """Tell whether a message of `size` bytes fits in."""
        longest, largest = self.options.max_length, self.options.max_bytes
        return (longest is None or self.length < longest) and (
            largest is None or self.size + size <= largest
        )

    def overfull(self) -> bool:
        """Tell whether it is over its limits."""
        longest, largest = self.options.max_length, self.options.max_bytes
        return (longest is not None and self.length > longest) or (
            largest is not None and self.size > largest
        )

    def expires_at(self, own: int, now: int) -> int:
        """Return when a message that arrives now expires.

        Args:
            own: when the message itself says so; 0 for never.
            now: log time.  All three are in milliseconds since the epoch.

        Returns:
            The earlier of `own` and the end of the queue's time for messages; 0 for never.
        """
        longest = self.options.message_ttl_ms
        if longest is None:
            return own
        return min(own, now + longest) if own else now + longest

    def gave_up(self, tries: int) -> bool:
        """Tell whether a delivery with this many tries must not be tried again."""
        return self.options.max_tries is not None and tries >= self.options.max_tries

    def pack(self) -> bytes:
        """Return the row."""
        head = _counted.pack(self.length, self.size, self.used, self.due, self.jobs)
        return head + encode(self.options)


def unpack(row: bytes) -> Queue:
    """Return the queue that a row holds."""
    length, size, used, due, jobs = _counted.unpack_from(row)
    options = cast(Configure, decode(row[_counted.size :]))
    return Queue(options, length, size, used, due, bool(jobs))


class Queues:
    """The queues of one partition that have options."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._any: bool | None = None
        self._cache: dict[bytes, Queue | None] = {}

    @property
    def any(self) -> bool:
        """Whether any queue may have options; False saves a look for each queue."""
        if self._any is None:
            self._any = any(True for _ in self._rows.scan(OPTIONS))
        return self._any

    def get(self, queue: bytes) -> Queue | None:
        """Return a queue if it has options; `save` it after changing it."""
        if not self.any:
            return None
        cache = self._cache
        if queue in cache:
            return cache[queue]
        row = self._rows.get(OPTIONS, queue)
        return self._keep(queue, None if row is None else unpack(row))

    def add(self, queue: bytes, options: Configure) -> Queue:
        """Give options to a queue that has none."""
        self._any = True
        added = Queue(options)
        self._keep(queue, added)
        return added

    def save(self, queue: bytes, state: Queue) -> None:
        """Write the row of a queue."""
        self._rows.put(OPTIONS, queue, state.pack())

    def remove(self, queue: bytes) -> None:
        """Delete the row of a queue."""
        self._rows.delete(OPTIONS, queue)
        self._keep(queue, None)

    def _keep(self, queue: bytes, state: Queue | None) -> Queue | None:
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        self._cache[queue] = state
        return state
