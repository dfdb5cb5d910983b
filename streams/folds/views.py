"""What the tables say, for those who only read them: the gateway and the commands.

Every function is one synchronous look at the rows of the partition that the group or queue
belongs to.  What the rows are is written down in `route` and `deliver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, Protocol, cast

from streams.events.codec import decode
from streams.events.records import Message
from streams.fold import Rows


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """What `queues` holds of one queue."""

    depth: int
    """Deliveries in the inbox."""
    groups: int
    """Groups that the queue is bound to."""
    session: str | None
    """The open session."""


@dataclass(frozen=True, slots=True)
class Member:
    """A binding as `members` has it."""

    queue: str
    session: str | None
    partition: int
    """The queue's partition of queue-events."""


@dataclass(frozen=True, slots=True)
class RowKey:
    """What a raw row key of a table names."""

    kind: Literal[
        "member", "message id", "expiry", "log time", "watermark", "binding", "delivery", "session"
    ]
    owner: str
    """The group or queue that the row belongs to; empty for the partition's own rows."""
    detail: str | int
    """Queue, message id, group, seq, or partition, by `kind`; empty for none."""


def members_bucket(group: str) -> bytes:
    """Return the bucket of `members` with a row for each queue bound to the group."""
    return b"m" + group.encode()


def bindings_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with a row for each group that the queue is bound to."""
    return b"b" + queue.encode()


def inbox_bucket(queue: str) -> bytes:
    """Return the bucket of `queues` with a row for each delivery that is not acked."""
    return b"i" + queue.encode()


def members(
    rows: Rows, group: str, after: str | None = None, limit: int = 1000
) -> tuple[list[str], str | None]:
    """Return up to `limit` queues bound to a group, in ascending order of their bytes.

    With it comes what to give as `after` to go on, None when that was all.
    """
    return _page(rows, members_bucket(group), after, limit)


def member(rows: Rows, group: str, queue: str) -> Member | None:
    """Return the binding of a queue to a group, None without one."""
    row = rows.get(members_bucket(group), queue.encode())
    if row is None:
        return None
    return Member(queue, row[2:].decode() or None, int.from_bytes(row[:2], "big"))


def groups(
    rows: Rows, queue: str, after: str | None = None, limit: int = 1000
) -> tuple[list[str], str | None]:
    """Return up to `limit` groups that a queue is bound to, as `members` does."""
    return _page(rows, bindings_bucket(queue), after, limit)


def binding(rows: Rows, queue: str, group: str) -> tuple[bool, str | None]:
    """Tell whether a queue is bound to a group, and with which session (None: permanent)."""
    row = rows.get(bindings_bucket(queue), group.encode())
    return (False, None) if row is None else (True, row.decode() or None)


def inbox(
    rows: Rows, queue: str, after: int = 0, limit: int | None = None
) -> Iterator[tuple[int, Message]]:
    """Yield (seq, message) of what is not acked, with a seq above `after`, in ascending order."""
    found = rows.scan(inbox_bucket(queue), max(after, 0).to_bytes(8, "big"))
    for seq, value in islice(found, limit):
        yield int.from_bytes(seq, "big"), cast(Message, decode(value))


class Stored(Protocol):
    """Rows in a database, by their raw keys."""

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order."""
        ...


def stored_inboxes(
    stored: Stored, after: bytes | None = None
) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Yield (raw key, queue, seq, value) of the inbox rows of all queues, in order of key."""
    start = b"i" if after is None else after + b"\0"
    for key, value in stored.scan(start, b"j"):
        yield key, key[1:-9], key[-8:], value


def published_at(value: bytes) -> int:
    """Return when the message of an inbox row was published, in ms."""
    return cast(Message, decode(value)).at


def session(rows: Rows, queue: str) -> str | None:
    """Return the open session of a queue."""
    row = rows.get(b"s" + queue.encode(), b"")
    return None if row is None else row.decode()


def queue_summary(rows: Rows, queue: str) -> QueueSummary:
    """Count what a queue has, in a time that grows with it."""
    depth = sum(1 for _ in rows.scan(inbox_bucket(queue)))
    bound = sum(1 for _ in rows.scan(bindings_bucket(queue)))
    return QueueSummary(depth, bound, session(rows, queue))


def split_row_key(table: str, key: bytes) -> RowKey:
    """Say what a raw row key of the table `members` or `queues` names.

    Raises:
        ValueError: no row of that table has such a key.
    """
    bucket, separator, suffix = key.partition(b"\0")
    kind, owner = bucket[:1], bucket[1:].decode(errors="replace")
    text = suffix.decode(errors="replace")
    match table, kind:
        case _ if not separator:
            pass
        case "members", b"m":
            return RowKey("member", owner, text)
        case "members", b"d":
            return RowKey("message id", owner, text)
        case "members", b"x" if not owner and b"\0" in suffix[8:]:
            group, _, ident = suffix[8:].partition(b"\0")
            return RowKey("expiry", group.decode(errors="replace"), ident.decode(errors="replace"))
        case "members", b"t" if key == b"t\0":
            return RowKey("log time", "", "")
        case "members" | "queues", b"w" if not owner and len(suffix) == 2:
            return RowKey("watermark", "", int.from_bytes(suffix, "big"))
        case "queues", b"b":
            return RowKey("binding", owner, text)
        case "queues", b"i" if len(suffix) == 8:
            return RowKey("delivery", owner, int.from_bytes(suffix, "big"))
        case "queues", b"s" if not suffix:
            return RowKey("session", owner, "")
    raise ValueError(f"no row of {table} has the key {key!r}")


def _page(rows: Rows, bucket: bytes, after: str | None, limit: int) -> tuple[list[str], str | None]:
    start = None if not after else after.encode()
    page = [suffix.decode() for suffix, _ in islice(rows.scan(bucket, start), limit + 1)]
    if len(page) <= limit:
        return page, None
    del page[limit:]
    return page, page[-1] if page else after
