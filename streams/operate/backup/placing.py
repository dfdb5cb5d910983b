"""Turns the entries of an export into the rows of a namespace with any number of partitions.

The reverse of `entries`; the modules of `streams.folds` describe the rows.  The logs of the new
namespace begin at offset 0 and have numbers of their own, so no row has a watermark, and the base
of seqs is above those of the export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

from streams.events.codec import encode_message, join_ids, read
from streams.events.records import Configure
from streams.folds import options
from streams.folds.delivery import SHARED_FROM, StoredDelivery, arriving
from streams.folds.inbox import available_key, pack_seq
from streams.folds.levels import FIRST
from streams.folds.patterns import held_with
from streams.folds.row_keys import (
    AVAILABLE,
    BINDINGS,
    CLOSED,
    COVERED,
    FOUNDATION,
    HELD,
    INBOX,
    LEVEL,
    LOG_TIME,
    MEMBERSHIPS,
    MESSAGE_IDS,
    MESSAGE_IDS_BY_TIME,
    OPTIONS,
    PATTERN_COUNTS,
    PATTERNS,
    SESSION,
    SHARED_MESSAGES,
    SHARERS,
    TERMS,
    TIMERS,
    TRANSIENT,
)
from streams.folds.sessions import SessionTerms
from streams.folds.tables import MEMBERS, QUEUES, TABLES
from streams.folds.timers import CLOSING, EXPIRY, HEARTBEAT, RELEASE, RETURN, UNUSED, Timer, row_of
from streams.kafka.partitioner import partition_of
from streams.operate.backup import file

Row = tuple[str, int, bytes, bytes]
"""Table, partition, raw key, value."""

_SEPARATOR: Final = b"\0"
_NAMED: Final = 1 << 63
"""Names of shared messages are this and a number: no seq, by which folds name them, is as high."""


class Placing:
    """Makes the rows of one import."""

    def __init__(self, partitions: int, start: dict[str, Any], import_id: bytes) -> None:
        """Prepare.

        Args:
            partitions: how many the namespace has.
            start: the Start of the export.
            import_id: names the import in its first rows.
        """
        self._partitions = partitions
        self._partition_rows = [number.to_bytes(2, "big") for number in range(partitions)]
        self._start = start
        self._id = import_id
        self._shared = 0
        self._counted = b"", 0  # the last group with patterns, and how many it has so far
        self._makers: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
            file.BINDING: self._binding,
            file.MESSAGE_ID: self._message_id,
            file.SESSION: self._session,
            file.CLOSED_SESSION: self._closed_session,
            file.OPTIONS: self._options,
            file.DELIVERY: self._delivery,
        }

    def first_rows(self) -> Iterator[Row]:
        """Yield the first row of each partition's changelog: see `FOUNDATION`."""
        for number in range(self._partitions):
            key = FOUNDATION + _SEPARATOR
            yield MEMBERS, number, key, bytes(8) + self._id
            yield QUEUES, number, key, self._start["seq_base"].to_bytes(8, "big") + self._id

    def clock_rows(self) -> Iterator[Row]:
        """Yield the log time of each partition of `members`, and the level of all partitions."""
        unnamed = self._start["unnamed_until"]
        mark = b"\1" if unnamed is None else unnamed.to_bytes(8, "big")
        value = self._start["log_time"].to_bytes(8, "big") + mark
        for number in range(self._partitions):
            yield MEMBERS, number, LOG_TIME + _SEPARATOR, value
        if self._start["level"] > FIRST:
            level = self._start["level"].to_bytes(2, "big")
            for table, number in product(TABLES, range(self._partitions)):
                yield table, number, LEVEL + _SEPARATOR, level

    def rows(self, kind: str, values: dict[str, Any]) -> Iterator[Row]:
        """Yield the rows of one entry."""
        return self._makers[kind](values)

    def last_rows(self) -> Iterator[Row]:
        """Yield the rows that follow those of all entries."""
        group, count = self._counted
        if count:
            key = PATTERN_COUNTS + _SEPARATOR + group
            yield MEMBERS, self._of(group), key, count.to_bytes(4, "big")

    def _of(self, key: bytes) -> int:
        return partition_of(key, self._partitions)

    def _timer(self, partition: int, timer: Timer) -> Row:
        return QUEUES, partition, TIMERS + _SEPARATOR + row_of(timer), b""

    def _binding(self, values: dict[str, Any]) -> Iterator[Row]:
        group, queue = values["group"].encode(), values["queue"].encode()
        session = (values["session"] or "").encode()
        of_group, of_queue = self._of(group), self._of(queue)
        target, texts = self._partition_rows[of_queue], [one.encode() for one in values["patterns"]]
        held = target + (held_with(texts) if texts else session)
        yield MEMBERS, of_group, MEMBERSHIPS + group + _SEPARATOR + queue, held
        for pattern in texts:
            key = _SEPARATOR.join((PATTERNS + group, queue, pattern))
            yield MEMBERS, of_group, key, target
        if texts:  # the bindings of a group follow each other in an export
            if group != self._counted[0]:
                yield from self.last_rows()
                self._counted = group, 0
            self._counted = group, self._counted[1] + len(texts)
        yield QUEUES, of_queue, BINDINGS + queue + _SEPARATOR + group, session
        if values["covered"]:
            below = join_ids([one.encode() for one in values["covered"]])
            yield MEMBERS, of_group, _SEPARATOR.join((COVERED, group, queue)), below

    def _message_id(self, values: dict[str, Any]) -> Iterator[Row]:
        group, ident = values["group"].encode(), values["id"].encode()
        number, at = self._of(group), values["at"].to_bytes(8, "big")
        if values["sender"] is not None:
            ident += _SEPARATOR + values["sender"]
        yield MEMBERS, number, MESSAGE_IDS + group + _SEPARATOR + ident, at
        by_time = MESSAGE_IDS_BY_TIME + _SEPARATOR + at + group + _SEPARATOR + ident
        yield MEMBERS, number, by_time, b""

    def _session(self, values: dict[str, Any]) -> Iterator[Row]:
        queue = values["queue"].encode()
        number, bucket = self._of(queue), SESSION + queue + _SEPARATOR
        yield QUEUES, number, bucket, values["session"].encode()
        hidden, ttl, due = not values["presence"], values["ttl_ms"], values["due_at"]
        if hidden or ttl:
            terms = SessionTerms(hidden, ttl, values["heard_at"], due)
            yield QUEUES, number, bucket + TERMS, terms.pack()
        if due:
            yield self._timer(number, Timer(due, HEARTBEAT, queue))

    def _closed_session(self, values: dict[str, Any]) -> Iterator[Row]:
        queue, at = values["queue"].encode(), values["closed_at"]
        number = self._of(queue)
        row = at.to_bytes(8, "big") + values["session"].encode()
        yield QUEUES, number, SESSION + queue + _SEPARATOR + CLOSED, row
        yield self._timer(number, Timer(at, CLOSING, queue))

    def _options(self, values: dict[str, Any]) -> Iterator[Row]:
        configure = Configure(**values["options"])
        state = options.Queue(
            configure,
            values["length"],
            values["bytes"],
            values["used_at"],
            values["due_at"],
            values["jobs"],
        )
        queue = configure.queue.encode()
        number = self._of(queue)
        yield QUEUES, number, OPTIONS + _SEPARATOR + queue, state.pack()
        if state.due:
            yield self._timer(number, Timer(state.due, UNUSED, queue))

    def _delivery(self, values: dict[str, Any]) -> Iterator[Row]:
        message = values["message"]
        raw = message if isinstance(message, bytes) else encode_message(_fields(message))
        fields = read(raw)[1]
        by_partition: dict[int, list[tuple[bytes, dict[str, Any]]]] = {}
        for receiver in values["receivers"]:
            queue = receiver["queue"].encode()
            by_partition.setdefault(self._of(queue), []).append((queue, receiver))
        for number, receivers in by_partition.items():
            name = b""
            if len(receivers) > 1 and len(raw) >= SHARED_FROM:
                name = pack_seq(_NAMED | self._shared)
                self._shared += 1
                count = len(receivers).to_bytes(4, "big")
                yield QUEUES, number, SHARED_MESSAGES + _SEPARATOR + name, raw
                yield QUEUES, number, SHARERS + _SEPARATOR + name, count
            for queue, receiver in receivers:
                stored = arriving(raw, fields)
                if name:
                    stored.shared, stored.shared_size = name, len(raw)
                yield from self._inbox(number, queue, receiver, stored)

    def _inbox(
        self, number: int, queue: bytes, receiver: dict[str, Any], stored: StoredDelivery
    ) -> Iterator[Row]:
        seq, until = pack_seq(receiver["seq"]), receiver["until"]
        stored.tries, stored.until = receiver["tries"], until
        stored.leased, stored.consumer = receiver["leased"], receiver["consumer"].encode()
        stored.expires_at = receiver["expires_at"]  # the queue's option may have shortened it
        place = queue + _SEPARATOR + seq
        if receiver["held"]:
            yield QUEUES, number, HELD + place, stored.pack()
            yield self._timer(number, Timer(until, RETURN, queue, seq))
            return
        yield QUEUES, number, INBOX + place, stored.pack()
        if stored.expires_at:
            yield self._timer(number, Timer(stored.expires_at, EXPIRY, queue, seq))
        if stored.transient:
            yield QUEUES, number, TRANSIENT + place, b""
        if until:
            yield self._timer(number, Timer(until, RELEASE, queue, seq))
        if receiver["available"]:
            key = AVAILABLE + queue + _SEPARATOR + available_key(seq, stored)
            yield QUEUES, number, key, b""


def _fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message as the reader or the writer of a file has it."""
    return dict(message[1] if isinstance(message, tuple) else message)
