"""Reads the tables, for the gateway and the commands.

Every function is one synchronous look at the rows of the partition that the group or queue
belongs to.  `route` and `deliver` describe the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice, takewhile
from typing import Protocol, cast

from streams.events.codec import decode
from streams.events.records import Message
from streams.fold import Rows
from streams.folds import options as queue_options
from streams.folds import patterns
from streams.folds.delivery import StoredDelivery, unpack, whole
from streams.folds.row_keys import (
    INBOX,
    MEMBERSHIPS,
    OPTIONS,
    available_bucket,
    bindings_bucket,
    inbox_bucket,
    members_bucket,
    session_bucket,
)

_MOST_LOOKS = 2000
"""Rows that `leasable` looks at, at most: a queue may hold any number of expired messages."""


class RowsInOrder(Protocol):
    """Rows by their raw keys."""

    def items(self, after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (raw key, value) in ascending order, strictly after `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Membership:
    """A binding, as the table `members` has it."""

    queue: str
    session: str | None
    partition: int
    """The queue's partition of queue-events."""
    has_patterns: bool = False
    """Whether it gets only messages that match a pattern; see `binding_patterns`."""


def members(
    rows: Rows, group: str, after: str | None = None, limit: int = 1000
) -> tuple[list[str], str | None]:
    """Return up to `limit` queues bound to a group, in ascending order of their bytes.

    With them comes the value of `after` for the next page; None when there is none.
    """
    return _page(rows, members_bucket(group), after, limit)


def member(rows: Rows, group: str, queue: str) -> Membership | None:
    """Return the binding of a queue to a group; None without one."""
    row = rows.get(members_bucket(group), queue.encode())
    if row is None:
        return None
    session, partition = patterns.session_of(row).decode(), int.from_bytes(row[:2], "big")
    return Membership(queue, session or None, partition, patterns.has_patterns(row))


def binding_patterns(rows: Rows, group: str, queue: str) -> list[str]:
    """Return the patterns of a binding, in ascending order of their bytes; none: all messages."""
    found = patterns.GroupPatterns(rows).of(group.encode(), queue.encode())
    return [pattern.decode() for pattern in found]


def pattern_count(rows: Rows, group: str) -> int:
    """Return how many patterns the bindings of a group have together."""
    return patterns.GroupPatterns(rows).count(group.encode())


def reached(
    rows: Rows, group: str, routing_key: str, after: str | None = None, limit: int = 1000
) -> tuple[list[str], str | None]:
    """Return queues that a message to a group with a routing key reaches, as `members` does."""
    start = None if not after else after.encode()
    members = rows.scan(members_bucket(group), start)
    every = (queue for queue, row in members if patterns.receives_all(row))
    by_pattern = patterns.matching(rows, group.encode(), routing_key.encode(), start)
    both = (queue.decode() for queue, _ in groupby(merge(every, by_pattern)))
    return _cut(list(islice(both, limit + 1)), after, limit)


def bindings_below(rows: RowsInOrder, prefix: str, limit: int) -> list[tuple[str, str]]:
    """Return the first bindings, (group, queue), of the groups whose ids begin with `prefix`."""
    first = MEMBERSHIPS + prefix.encode()
    below = takewhile(lambda row: row[0].startswith(first), rows.items(first))
    found = (key[1:].decode().partition("\0") for key, _ in islice(below, limit))
    return [(group, queue) for group, _, queue in found]


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
    """Yield (seq, message) of deliveries with a seq above `after`, in ascending order."""
    for seq, _, message in deliveries(rows, queue, after, limit):
        yield seq, message


def deliveries(
    rows: Rows, queue: str, after: int = 0, limit: int | None = None, now: int = 0
) -> Iterator[tuple[int, StoredDelivery, Message]]:
    """Yield (seq, delivery, message) as `inbox` does, but for those expired at `now` (ms)."""
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


def delivery(rows: Rows, queue: str, seq: int) -> StoredDelivery | None:
    """Return one delivery of a queue; None when it is not there."""
    row = rows.get(inbox_bucket(queue), seq.to_bytes(8, "big"))
    return None if row is None else whole(rows, unpack(row))


def message_of(delivery: StoredDelivery) -> Message:
    """Return the message of a delivery."""
    return cast(Message, decode(delivery.message))


def options(rows: Rows, queue: str) -> queue_options.Queue | None:
    """Return the options of a queue and its counters; None without options."""
    row = rows.get(OPTIONS, queue.encode())
    return None if row is None else queue_options.unpack(row)


def may_lease(rows: Rows, queue: str) -> bool:
    """Tell whether a Lease may get something."""
    state = options(rows, queue)
    bucket = available_bucket(queue) if state and state.jobs else inbox_bucket(queue)
    return any(True for _ in rows.scan(bucket))


def leasable(rows: Rows, queue: str, limit: int, most_bytes: int, now: int) -> tuple[int, int]:
    """Return how many deliveries a Lease should ask for now, and the bytes of their messages.

    At most `limit`; the one that takes the sum past `most_bytes` is the last.  At least 1, even
    if there is none.  A Lease that is folded before this one may take them: then this one gets
    others, of other sizes.
    """
    state = options(rows, queue)
    bucket = inbox_bucket(queue)
    jobs = state is not None and state.jobs  # otherwise the first Lease sorts the inbox
    count = size = 0
    rows_in_turn = rows.scan(available_bucket(queue) if jobs else bucket)
    for key, row in islice(rows_in_turn, _MOST_LOOKS):
        found = rows.get(bucket, key[1:]) if jobs else row
        if found is not None and not (delivery := unpack(found)).expired(now):
            count += 1
            size += delivery.size
            if count == limit or size > most_bytes:
                break
    return max(1, count), size


def last_tries(rows: Rows, queue: str, seqs: Iterable[int]) -> int:
    """Count the deliveries among `seqs` that may not be tried again.

    Each becomes a dead letter, or is dropped, unless it is acknowledged.
    """
    state = options(rows, queue)
    if state is None or state.options.max_tries is None:
        return 0
    bucket = inbox_bucket(queue)
    found = (rows.get(bucket, seq.to_bytes(8, "big")) for seq in seqs)
    return sum(row is not None and state.gave_up(unpack(row).tries) for row in found)


INBOXES = (INBOX, bytes((INBOX[0] + 1,)))
"""The range of the raw keys of all inboxes: first, and one after the last."""


def inbox_place(key: bytes) -> tuple[bytes, bytes]:
    """Return queue and seq (8 bytes) from the raw key of an inbox row."""
    return key[1:-9], key[-8:]


def published_at(value: bytes) -> int:
    """Return when the message of an inbox row was published (ms since the epoch)."""
    delivery = unpack(value)
    return delivery.at if delivery.shared else message_of(delivery).at


def session(rows: Rows, queue: str) -> str | None:
    """Return the open session of a queue; None without one."""
    row = rows.get(session_bucket(queue), b"")
    return None if row is None else row.decode()


def _page(rows: Rows, bucket: bytes, after: str | None, limit: int) -> tuple[list[str], str | None]:
    start = None if not after else after.encode()
    page = [suffix.decode() for suffix, _ in islice(rows.scan(bucket, start), limit + 1)]
    return _cut(page, after, limit)


def _cut(page: list[str], after: str | None, limit: int) -> tuple[list[str], str | None]:
    if len(page) <= limit:
        return page, None
    del page[limit:]
    return page, page[-1] if page else after
