"""What the tables say, for those who only read them: the gateway and the commands.

Every function is one synchronous look at the rows of the partition that the group or queue
belongs to.  What the rows are is written down in `route` and `deliver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast

from streams.events.codec import decode
from streams.events.records import Message
from streams.fold import Rows
from streams.folds import options as queue_options
from streams.folds.delivery import Delivery, unpack, whole
from streams.folds.inbox import AVAILABLE
from streams.folds.timers import read_timer


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
        "member",
        "message id",
        "expiry",
        "log time",
        "watermark",
        "second watermark",
        "large group",
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
    ]
    owner: str
    """The group or queue that the row belongs to; empty for the partition's own rows."""
    detail: str | int
    """Queue, message id, group, seq, partition, or due time, by `kind`; empty for none."""


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
    for seq, _, message in deliveries(rows, queue, after, limit):
        yield seq, message


def deliveries(
    rows: Rows, queue: str, after: int = 0, limit: int | None = None, now: int = 0
) -> Iterator[tuple[int, Delivery, Message]]:
    """Yield seq, delivery and message as `inbox` does, without what has expired by `now`."""
    found = rows.scan(inbox_bucket(queue), max(after, 0).to_bytes(8, "big"))
    if limit is not None and limit <= 0:
        return
    for seq, row in found:
        delivery = unpack(row)
        if not delivery.expired(now):
            yield int.from_bytes(seq, "big"), delivery, message_of(whole(rows, delivery))
            if limit is not None:
                limit -= 1
                if not limit:
                    return


def delivery(rows: Rows, queue: str, seq: int) -> Delivery | None:
    """Return one delivery of a queue, None when it is not there."""
    row = rows.get(inbox_bucket(queue), seq.to_bytes(8, "big"))
    return None if row is None else whole(rows, unpack(row))


def message_of(delivery: Delivery) -> Message:
    """Return what was delivered."""
    return cast(Message, decode(delivery.message))


def options(rows: Rows, queue: str) -> queue_options.Queue | None:
    """Return the options of a queue and what is counted of it, None when it has none."""
    row = rows.get(queue_options.OPTIONS, queue.encode())
    return None if row is None else queue_options.unpack(row)


def may_lease(rows: Rows, queue: str) -> bool:
    """Tell whether a Lease may get something: something is there, and nobody has it."""
    state = options(rows, queue)
    bucket = AVAILABLE + queue.encode() if state and state.jobs else inbox_bucket(queue)
    return any(True for _ in rows.scan(bucket))


INBOXES = (b"i", b"j")
"""From where to where the raw keys of all inboxes go."""


def inbox_place(key: bytes) -> tuple[bytes, bytes]:
    """Return the queue and the seq (8 bytes) that the raw key of an inbox row names."""
    return key[1:-9], key[-8:]


def published_at(value: bytes) -> int:
    """Return when the message of an inbox row was published, in ms."""
    delivery = unpack(value)
    return delivery.at if delivery.shared else message_of(delivery).at


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
        case "members", b"u" if not owner and b"\0" in suffix:
            group, _, queue = suffix.partition(b"\0")
            name = queue.decode(errors="replace")
            return RowKey("covered sessions", group.decode(errors="replace"), name)
        case "members", b"l" if not owner:
            return RowKey("large group", text, "")
        case "members" | "queues", b"w" if not owner and len(suffix) == 2:
            return RowKey("watermark", "", int.from_bytes(suffix, "big"))
        case "queues", b"w" if not owner and len(suffix) == 3:
            return RowKey("second watermark", "", int.from_bytes(suffix[:2], "big"))
        case "queues", b"b":
            return RowKey("binding", owner, text)
        case "queues", b"i" if len(suffix) == 8:
            return RowKey("delivery", owner, int.from_bytes(suffix, "big"))
        case "queues", b"s" if not suffix:
            return RowKey("session", owner, "")
        case "queues", b"s" if suffix == b"t":
            return RowKey("session terms", owner, "")
        case "queues", b"s" if suffix == b"c":
            return RowKey("closed session", owner, "")
        case "queues", b"z" if key == b"z\0":
            return RowKey("closed lately", "", "")
        case "queues", b"v" if len(suffix) == 8:
            return RowKey("transient", owner, int.from_bytes(suffix, "big"))
        case "queues", b"h" if len(suffix) == 8:
            return RowKey("held", owner, int.from_bytes(suffix, "big"))
        case "queues", b"a" if len(suffix) == 9:
            return RowKey("available", owner, int.from_bytes(suffix[1:], "big"))
        case "queues", b"r" if not owner and len(suffix) == 8:
            return RowKey("shared message", "", int.from_bytes(suffix, "big"))
        case "queues", b"n" if not owner and len(suffix) == 8:
            return RowKey("sharers", "", int.from_bytes(suffix, "big"))
        case "queues", b"o" if not owner:
            return RowKey("options", text, "")
        case "queues", b"y" if not owner and len(suffix) > 9:
            timer = read_timer(suffix)
            return RowKey("timer", timer.queue.decode(errors="replace"), timer.due)
    raise ValueError(f"no row of {table} has the key {key!r}")


def _page(rows: Rows, bucket: bytes, after: str | None, limit: int) -> tuple[list[str], str | None]:
    start = None if not after else after.encode()
    page = [suffix.decode() for suffix, _ in islice(rows.scan(bucket, start), limit + 1)]
    if len(page) <= limit:
        return page, None
    del page[limit:]
    return page, page[-1] if page else after
