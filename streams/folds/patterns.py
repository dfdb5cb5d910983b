"""Bindings with patterns: which of them a message reaches by its routing key.

A routing key and a pattern are words separated by dots.  In a pattern, `*` stands for one word and
`#` for any number of words, also none.  The empty text has no words.  These are the topic
exchanges of AMQP 0-9-1.

Rows of the table `members`, in the partition of the group:

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``p`` group           queue; NUL; pattern        2 bytes: the queue's partition of
                                                 queue-events
``n``                 group                      4 bytes: how many such rows the group has;
                                                 no row for none
====================  =========================  ============================================

In the row of the membership (bucket ``m``), a NUL follows the partition, in place of a session, and
then `#` if one of the patterns matches every key.  Such a queue receives every message, as one
that is bound without a pattern does; `fans` may cache both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby, takewhile
from typing import Final

from streams.fold import BadRecord, Rows
from streams.folds.row_keys import PATTERN_COUNTS, PATTERNS

ROUTING_KEY: Final = "routing-key"
"""The header of a message that patterns are compared with."""
MAX_KEY_BYTES: Final = 255
"""Longest routing key.  A longer one, which only Kafka clients can write, is no routing key."""
MOST_PATTERNS: Final = 10_000
"""Patterns that the bindings of one group may have together."""

HELD: Final = b"\0"
"""What follows the partition in the row of a membership with patterns: no session is like it."""
HELD_BY_ALL: Final = b"\0#"
"""The same if one of the patterns matches every key."""

_CACHED: Final = 5_000
"""Patterns that one partition keeps ready, plus one for each group."""
_KEYS: Final = 10_000
"""Routing keys whose receivers one partition remembers, plus one for each receiver."""
_COMPILED: Final = 20_000
"""Patterns that the process keeps ready for groups that are too large to be cached."""

_STAR: Final = b"*"
_HASH: Final = b"#"

Matches = Callable[[list[bytes]], bool]
"""Tells whether the words of a routing key match."""


def words_of(text: bytes) -> list[bytes]:
    """Return the words of a routing key or of a pattern."""
    return text.split(b".") if text else []


def key_of(headers: dict[str, str]) -> bytes | None:
    """Return the routing key in the headers of a message; None without one."""
    text = headers.get(ROUTING_KEY)
    if text is None or len(text) > MAX_KEY_BYTES:
        return None
    key = text.encode()
    return key if len(key) <= MAX_KEY_BYTES else None


@lru_cache(_COMPILED)
def compiled(pattern: bytes) -> Matches:
    """Return the matcher of a pattern.

    Bit i of a number stands for "the first i words of the pattern have matched so far", so that
    each word of a key takes a few operations, whatever the pattern: none is slow.
    """
    parts = _normal(words_of(pattern))
    stars = sum(1 << place for place, part in enumerate(parts) if part == _STAR)
    hashes = sum(1 << place for place, part in enumerate(parts) if part == _HASH)
    places: dict[bytes, int] = {}
    for place, part in enumerate(parts):
        if part not in (_STAR, _HASH):
            places[part] = places.get(part, 0) | 1 << place
    end = 1 << len(parts)
    start = 1 | (hashes & 1) << 1  # a `#` may stand for no word

    def matches(words: list[bytes]) -> bool:
        reached = start
        for word in words:
            reached = reached & hashes | (reached & (stars | places.get(word, 0))) << 1
            if not reached:
                return False
            reached |= (reached & hashes) << 1
        return bool(reached & end)

    return matches


def matches_all(pattern: bytes) -> bool:
    """Tell whether a pattern matches every routing key."""
    return bool(pattern) and not pattern.strip(b"#.") and set(words_of(pattern)) == {_HASH}


def _normal(parts: list[bytes]) -> list[bytes]:
    """Return an equal pattern: each run of wildcards has its `*` first, then at most one `#`."""
    found: list[bytes] = []
    for part in parts:
        if found and found[-1] == _HASH and part in (_STAR, _HASH):
            if part == _STAR:
                found.insert(-1, _STAR)
        else:
            found.append(part)
    return found


def held_with(patterns: Iterable[bytes]) -> bytes:
    """Return what follows the partition in the row of a membership with these patterns."""
    return HELD_BY_ALL if any(map(matches_all, patterns)) else HELD


def session_of(row: bytes) -> bytes:
    """Return the session in the row of a membership; empty for a permanent binding."""
    held = row[2:]
    return b"" if held.startswith(HELD) else held


def has_patterns(row: bytes) -> bool:
    """Tell whether the row of a membership is that of one with patterns."""
    return row.startswith(HELD, 2)


def receives_all(row: bytes) -> bool:
    """Tell whether a member receives every message, given the row of the membership."""
    return not row.startswith(HELD, 2) or row.startswith(HELD_BY_ALL, 2)


def matching(rows: Rows, group: bytes, key: bytes, after: bytes | None) -> Iterator[bytes]:
    """Yield the queues after a queue, in order, that have a pattern that matches a routing key."""
    words = words_of(key)
    start = None if after is None else after + b"\1"  # after all patterns of that queue
    found = rows.scan(PATTERNS + group, start)
    for queue, suffixes in groupby((suffix for suffix, _ in found), _queue_of):
        if any(compiled(suffix[len(queue) + 1 :])(words) for suffix in suffixes):
            yield queue


def _queue_of(suffix: bytes) -> bytes:
    return suffix.partition(b"\0")[0]


class _Table:
    """The patterns of one group, but for those that match every key."""

    __slots__ = ("_all", "_queues", "_wild", "weight")

    def __init__(self, rows: Rows, group: bytes) -> None:
        self.weight = 1
        self._queues: dict[bytes, list[tuple[bytes, int]]] = {}  # (queue, partition) by pattern
        self._wild: dict[bytes, Matches] = {}
        self._all: set[bytes] = set()  # receive every message anyway
        for suffix, value in rows.scan(PATTERNS + group):
            queue, _, pattern = suffix.partition(b"\0")
            self.weight += 1
            if matches_all(pattern):
                self._all.add(queue)
                continue
            self._queues.setdefault(pattern, []).append((queue, int.from_bytes(value, "big")))
            if _STAR in pattern or _HASH in pattern:
                self._wild[pattern] = compiled(pattern)

    def reached(self, key: bytes) -> dict[int, list[bytes]]:
        words = words_of(key)
        patterns = [pattern for pattern, matches in self._wild.items() if matches(words)]
        if key in self._queues and key not in self._wild:
            patterns.append(key)
        members = {one for pattern in patterns for one in self._queues[pattern]}
        found: dict[int, list[bytes]] = {}
        for queue, target in sorted(members):
            if queue not in self._all:
                found.setdefault(target, []).append(queue)
        return found


class GroupPatterns:
    """The patterns of the groups of one partition.

    What is cached of them is bounded, and no row and no output depends on it.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._tables: dict[bytes, _Table] = {}
        self._weight = 0
        self._reached: dict[tuple[bytes, bytes], dict[int, list[bytes]]] = {}  # by group and key
        self._reached_weight = 0

    def count(self, group: bytes) -> int:
        """Return how many patterns the bindings of a group have together."""
        row = self._rows.get(PATTERN_COUNTS, group)
        return 0 if row is None else int.from_bytes(row, "big")

    def has(self, group: bytes, queue: bytes, pattern: bytes) -> bool:
        """Tell whether a binding has a pattern."""
        return self._rows.get(PATTERNS + group, queue + b"\0" + pattern) is not None

    def of(self, group: bytes, queue: bytes) -> list[bytes]:
        """Return the patterns of a binding, in ascending order."""
        prefix = queue + b"\0"
        found = [b""] if self.has(group, queue, b"") else []
        after = self._rows.scan(PATTERNS + group, prefix)
        found += [
            suffix[len(prefix) :]
            for suffix, _ in takewhile(lambda row: row[0].startswith(prefix), after)
        ]
        return found

    def held(self, group: bytes, queue: bytes) -> bytes:
        """Return what follows the partition in the row of the membership."""
        return held_with(self.of(group, queue))

    def any_of(self, group: bytes, queue: bytes) -> bool:
        """Tell whether a binding has any pattern."""
        if self.has(group, queue, b""):
            return True
        first = next(self._rows.scan(PATTERNS + group, queue + b"\0"), None)
        return first is not None and first[0].startswith(queue + b"\0")

    def add(self, group: bytes, queue: bytes, target: bytes, pattern: bytes) -> None:
        """Add a pattern that the binding does not have; `target` is the partition in 2 bytes.

        Raises:
            BadRecord: the group has `MOST_PATTERNS` already.
        """
        count = self.count(group)
        if count >= MOST_PATTERNS:
            raise BadRecord(f"the bindings of a group may have {MOST_PATTERNS} patterns at most")
        self._rows.put(PATTERNS + group, queue + b"\0" + pattern, target)
        self._counted(group, count + 1)

    def remove(self, group: bytes, queue: bytes, patterns: list[bytes]) -> None:
        """Remove patterns that the binding has."""
        for pattern in patterns:
            self._rows.delete(PATTERNS + group, queue + b"\0" + pattern)
        self._counted(group, self.count(group) - len(patterns))

    def reached(self, group: bytes, key: bytes) -> dict[int, list[bytes]]:
        """Return the queues that a message with a routing key reaches, by their partitions.

        They are in ascending order, without those that receive every message.  For a group
        whose patterns are few enough to be cached.
        """
        known = self._reached.get((group, key))
        if known is not None:
            return known
        found = self._table(group).reached(key)
        weight = 1 + sum(map(len, found.values()))
        if self._reached_weight + weight > _KEYS:
            self._forget_reached()
        self._reached_weight += weight
        self._reached[group, key] = found
        return found

    def _table(self, group: bytes) -> _Table:
        table = self._tables.pop(group, None)
        if table is None:
            table = _Table(self._rows, group)
            self._weight += table.weight
            while self._weight > _CACHED and self._tables:
                self._drop(next(iter(self._tables)))
        self._tables[group] = table  # now the most recently used
        return table

    def _counted(self, group: bytes, count: int) -> None:
        if count:
            self._rows.put(PATTERN_COUNTS, group, count.to_bytes(4, "big"))
        else:
            self._rows.delete(PATTERN_COUNTS, group)
        self._drop(group)
        self._forget_reached()

    def _forget_reached(self) -> None:
        self._reached.clear()
        self._reached_weight = 0

    def _drop(self, group: bytes) -> None:
        table = self._tables.pop(group, None)
        if table is not None:
            self._weight -= table.weight
