"""The keys of the rows of both tables.

A raw key is a bucket, a NUL and a suffix.  The first byte of the bucket says what its rows are;
the rest, if any, is the group or queue that owns them.  The modules that write the rows
describe the suffixes and values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from streams.folds.tables import MEMBERS, QUEUES

# Of the table `members`; see `route`, and `patterns` for the last two.
MEMBERSHIPS: Final = b"m"
COVERED: Final = b"u"
MESSAGE_IDS: Final = b"d"
MESSAGE_IDS_BY_TIME: Final = b"x"
LARGE_GROUPS: Final = b"l"
LOG_TIME: Final = b"t"
PATTERNS: Final = b"p"
PATTERN_COUNTS: Final = b"n"

# Of the table `queues`; see `deliver`.
BINDINGS: Final = b"b"
INBOX: Final = b"i"
TRANSIENT: Final = b"v"
HELD: Final = b"h"
AVAILABLE: Final = b"a"
SHARED_MESSAGES: Final = b"r"
SHARERS: Final = b"n"
SESSION: Final = b"s"
CLOSED_LATELY: Final = b"z"
OPTIONS: Final = b"o"
TIMERS: Final = b"y"

# Of both tables.
LEVEL: Final = b"k"
WATERMARKS: Final = b"w"
FOUNDATION: Final = b"f"
"""One row of a partition that did not begin empty: 8 bytes, the base of its seqs; more may follow.

It is written once, as the first record of the changelog partition."""

PARTITIONS: Final = b"c"
"""One row of every partition of a namespace that was rescaled: see `partition_counts`."""

# Suffixes in the bucket `SESSION`; the open session has an empty one.
TERMS: Final = b"t"
CLOSED: Final = b"c"

Kind = Literal[
    "member",
    "message id",
    "expiry",
    "log time",
    "watermark",
    "second watermark",
    "large group",
    "pattern",
    "patterns",
    "covered sessions",
    "binding",
    "delivery",
    "session",
    "session terms",
    "closed session",
    "closed lately",
    "shared message",
    "sharers",
    "transient",
    "held",
    "available",
    "options",
    "timer",
    "foundation",
    "level",
    "partitions",
]


@dataclass(frozen=True, slots=True)
class RowKey:
    """What a raw row key names."""

    kind: Kind
    owner: str
    """The group or queue that the row belongs to; empty for the partition's own rows."""
    detail: str | int
    """Queue, message id, group, seq, partition or due time, by `kind`; empty without one."""


def members_bucket(group: str) -> bytes:
    """Return the bucket of `members` with a row for each queue bound to the group."""
    return MEMBERSHIPS + group.encode()


def bindings_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with a row for each group that the queue is bound to."""
    return BINDINGS + queue.encode()


def inbox_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with a row for each delivery that is not acked."""
    return INBOX + queue.encode()


def session_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with the rows of the queue's session."""
    return SESSION + queue.encode()


def available_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with a row for each delivery that a Lease may get."""
    return AVAILABLE + queue.encode()


def split_row_key(table: str, key: bytes) -> RowKey:
    """Return what a raw row key of the table `members` or `queues` names.

    Raises:
        ValueError: the table has no rows with such keys.
    """
    bucket, separator, suffix = key.partition(b"\0")
    parse = _PARSERS.get((table, bucket[:1])) if separator else None
    found = None if parse is None else parse(_text(bucket[1:]), suffix)
    if found is None:
        raise ValueError(f"the table {table} has no row with the key {key!r}")
    return found


# A parser takes the owner in the bucket and the suffix; it returns None for a malformed key.
_Parser = Callable[[str, bytes], RowKey | None]


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _owned_text(kind: Kind) -> _Parser:
    """Parse a bucket with an owner, and text as the suffix."""
    return lambda owner, suffix: RowKey(kind, owner, _text(suffix))


def _owned_seq(kind: Kind, prefix: int = 0) -> _Parser:
    """Parse a bucket with an owner; the suffix is `prefix` bytes and a seq."""

    def parse(owner: str, suffix: bytes) -> RowKey | None:
        if len(suffix) != prefix + 8:
            return None
        return RowKey(kind, owner, int.from_bytes(suffix[prefix:], "big"))

    return parse


def _message_id(owner: str, suffix: bytes) -> RowKey:
    """Parse a bucket with a group; the suffix is a message id, NUL and its sender."""
    return RowKey("message id", owner, _text(suffix.partition(b"\0")[0]))


def _named(kind: Kind) -> _Parser:
    """Parse a bucket without an owner, whose suffix is the owner."""
    return lambda owner, suffix: None if owner else RowKey(kind, _text(suffix), "")


def _pair(kind: Kind, prefix: int = 0) -> _Parser:
    """Parse a bucket without an owner; the suffix is `prefix` bytes, owner, NUL and detail.

    Another NUL ends the detail.
    """

    def parse(owner: str, suffix: bytes) -> RowKey | None:
        group, separator, detail = suffix[prefix:].partition(b"\0")
        if owner or not separator:
            return None
        return RowKey(kind, _text(group), _text(detail.partition(b"\0")[0]))

    return parse


def _pattern(owner: str, suffix: bytes) -> RowKey | None:
    """Parse a bucket with a group; the suffix is a queue, NUL and a pattern."""
    queue, separator, _ = suffix.partition(b"\0")
    return RowKey("pattern", owner, _text(queue)) if separator else None


def _number(kind: Kind, size: int) -> _Parser:
    """Parse a bucket without an owner, whose suffix is a number of `size` bytes."""

    def parse(owner: str, suffix: bytes) -> RowKey | None:
        if owner or len(suffix) != size:
            return None
        return RowKey(kind, "", int.from_bytes(suffix, "big"))

    return parse


def _single(kind: Kind) -> _Parser:
    """Parse the key of a bucket with one row."""
    return lambda owner, suffix: None if owner or suffix else RowKey(kind, "", "")


def _session(owner: str, suffix: bytes) -> RowKey | None:
    if suffix == TERMS:
        return RowKey("session terms", owner, "")
    if suffix == CLOSED:
        return RowKey("closed session", owner, "")
    return None if suffix else RowKey("session", owner, "")


def _lane_watermark(owner: str, suffix: bytes) -> RowKey | None:
    """Parse a partition, followed by a byte for the second lane, or for what was forwarded."""
    if owner or len(suffix) not in (2, 3):
        return None
    kind: Kind = "watermark" if len(suffix) == 2 else "second watermark"
    return RowKey(kind, "", int.from_bytes(suffix[:2], "big"))


def _timer(owner: str, suffix: bytes) -> RowKey | None:
    """Parse 8 bytes of due time, a byte of kind, queue, NUL and perhaps a seq."""
    if owner or len(suffix) <= 9:
        return None
    queue = suffix[9:].partition(b"\0")[0]
    return RowKey("timer", _text(queue), int.from_bytes(suffix[:8], "big"))


_PARSERS: Final[dict[tuple[str, bytes], _Parser]] = {
    (MEMBERS, MEMBERSHIPS): _owned_text("member"),
    (MEMBERS, COVERED): _pair("covered sessions"),
    (MEMBERS, MESSAGE_IDS): _message_id,
    (MEMBERS, MESSAGE_IDS_BY_TIME): _pair("expiry", prefix=8),
    (MEMBERS, LARGE_GROUPS): _named("large group"),
    (MEMBERS, LOG_TIME): _single("log time"),
    (MEMBERS, PATTERNS): _pattern,
    (MEMBERS, PATTERN_COUNTS): _named("patterns"),
    (MEMBERS, LEVEL): _single("level"),
    (MEMBERS, WATERMARKS): _lane_watermark,
    (MEMBERS, FOUNDATION): _single("foundation"),
    (MEMBERS, PARTITIONS): _single("partitions"),
    (QUEUES, BINDINGS): _owned_text("binding"),
    (QUEUES, INBOX): _owned_seq("delivery"),
    (QUEUES, TRANSIENT): _owned_seq("transient"),
    (QUEUES, HELD): _owned_seq("held"),
    (QUEUES, AVAILABLE): _owned_seq("available", prefix=1),
    (QUEUES, SHARED_MESSAGES): _number("shared message", size=8),
    (QUEUES, SHARERS): _number("sharers", size=8),
    (QUEUES, SESSION): _session,
    (QUEUES, CLOSED_LATELY): _single("closed lately"),
    (QUEUES, OPTIONS): _named("options"),
    (QUEUES, TIMERS): _timer,
    (QUEUES, LEVEL): _single("level"),
    (QUEUES, WATERMARKS): _lane_watermark,
    (QUEUES, FOUNDATION): _single("foundation"),
    (QUEUES, PARTITIONS): _single("partitions"),
}
