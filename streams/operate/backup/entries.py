"""Turns the rows of both tables into the entries of an export.

Indexes, timers, watermarks and the inverse of the bindings are left out: `placing` derives them.
The modules of `streams.folds` describe the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import orjson

from streams.events.codec import encode_message, encode_values, read
from streams.folds import options
from streams.folds.delivery import StoredDelivery, unpack
from streams.folds.inbox import available_key
from streams.folds.patterns import has_patterns, session_of
from streams.folds.row_keys import (
    AVAILABLE,
    CLOSED,
    COVERED,
    HELD,
    INBOX,
    LOG_TIME,
    MEMBERSHIPS,
    MESSAGE_IDS,
    OPTIONS,
    PATTERNS,
    SESSION,
    SHARED_MESSAGES,
    TERMS,
)
from streams.folds.sessions import unpack_terms
from streams.operate.backup import file
from streams.operate.backup.chosen import Chosen
from streams.operate.backup.file import Entry

_MESSAGE: Final = "streams.v1.Message"
_SEPARATOR: Final = b"\0"


class RawRows(Protocol):
    """The rows of one table partition by raw key."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a row; None if there is no such row."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows with start <= key < end in ascending order."""
        ...


class Scratch(Protocol):
    """Sorts the inboxes that share a message by the name of that message."""

    def add(self, name: bytes, receiver: bytes) -> None:
        """Add an inbox."""
        ...

    def sorted(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield (name, inbox), those with the same name together."""
        ...


def members_entries(rows: RawRows, chosen: Chosen) -> Iterator[Entry]:
    """Yield the bindings and message ids in a partition of `members`."""
    covered = any(True for _ in _bucket_kind(rows, COVERED))
    for key, value in _bucket_kind(rows, MEMBERSHIPS):
        group, _, queue = key[1:].partition(_SEPARATOR)
        below = rows.get(COVERED + _SEPARATOR + group + _SEPARATOR + queue) if covered else None
        names = group.decode(), queue.decode()
        if chosen.binding(*names):
            yield (
                file.BINDING,
                {
                    "group": names[0],
                    "queue": names[1],
                    "session": session_of(value).decode() or None,
                    "covered": [] if below is None else below[:-1].decode().split("\0"),
                    "patterns": _patterns(rows, group, queue) if has_patterns(value) else [],
                },
            )
    for key, value in _bucket_kind(rows, MESSAGE_IDS):
        group, _, rest = key[1:].partition(_SEPARATOR)
        ident, separator, sender = rest.partition(_SEPARATOR)
        if chosen.destination(group.decode()):
            yield (
                file.MESSAGE_ID,
                {
                    "group": group.decode(),
                    "id": ident.decode(),
                    "sender": sender if separator else None,
                    "at": int.from_bytes(value, "big"),
                },
            )


def _patterns(rows: RawRows, group: bytes, queue: bytes) -> list[str]:
    """Return the patterns of a binding."""
    start = _SEPARATOR.join((PATTERNS + group, queue, b""))
    end = start[:-1] + b"\1"
    return [key[len(start) :].decode() for key, _ in rows.scan(start, end)]


def log_time(rows: RawRows) -> tuple[int, int | None]:
    """Return the log time of a partition of `members`, and until when ids may lack a sender."""
    row = rows.get(LOG_TIME + _SEPARATOR)
    if row is None:
        return 0, None
    mark = row[8:] or row
    return int.from_bytes(row[:8], "big"), None if len(mark) == 1 else int.from_bytes(mark, "big")


def queues_entries(rows: RawRows, chosen: Chosen, scratch: Scratch) -> Iterator[Entry]:
    """Yield the sessions, options and deliveries in a partition of `queues`.

    `scratch` is empty, and is used for deliveries that share a message.
    """
    yield from _sessions(rows, chosen)
    yield from _options(rows, chosen)
    yield from _deliveries(rows, chosen, scratch)


def _sessions(rows: RawRows, chosen: Chosen) -> Iterator[Entry]:
    for key, value in _bucket_kind(rows, SESSION):
        raw, _, suffix = key[1:].partition(_SEPARATOR)
        queue = raw.decode()
        if not chosen.queue(queue):
            continue
        if not suffix:
            terms = unpack_terms(rows.get(key + TERMS))
            yield (
                file.SESSION,
                {
                    "queue": queue,
                    "session": value.decode(),
                    "presence": not terms.hidden,
                    "ttl_ms": terms.ttl,
                    "heard_at": terms.heard,
                    "due_at": terms.due,
                },
            )
        elif suffix == CLOSED:
            yield (
                file.CLOSED_SESSION,
                {
                    "queue": queue,
                    "session": value[8:].decode(),
                    "closed_at": int.from_bytes(value[:8], "big"),
                },
            )


def _options(rows: RawRows, chosen: Chosen) -> Iterator[Entry]:
    for key, value in _bucket_kind(rows, OPTIONS):
        state = options.unpack(value)
        if chosen.queue(key[2:].decode()):
            yield (
                file.OPTIONS,
                {
                    "options": read(encode_values("Configure", vars_of(state.options)))[1],
                    "length": state.length,
                    "bytes": state.size,
                    "used_at": state.used,
                    "due_at": state.due,
                    "jobs": state.jobs,
                },
            )


def vars_of(record: Any) -> dict[str, Any]:
    """Return the fields of a record."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _deliveries(rows: RawRows, chosen: Chosen, scratch: Scratch) -> Iterator[Entry]:
    any_options = any(True for _ in _bucket_kind(rows, OPTIONS))
    for bucket in (INBOX, HELD):
        for key, row in _bucket_kind(rows, bucket):
            queue, seq = key[1:-9], key[-8:]
            if not chosen.queue(queue.decode()):
                continue
            stored = unpack(row)
            available = (
                any_options
                and bucket == INBOX
                and rows.get(AVAILABLE + queue + _SEPARATOR + available_key(seq, stored))
                is not None
            )
            receiver = _receiver(queue, seq, bucket == HELD, available, stored)
            if stored.shared:
                scratch.add(stored.shared, orjson.dumps(receiver))
            else:
                yield file.DELIVERY, {"message": _message(stored.message), "receivers": [receiver]}
    yield from _shared(rows, scratch)


def _shared(rows: RawRows, scratch: Scratch) -> Iterator[Entry]:
    """Yield the deliveries that share a message, together."""
    latest: bytes | None = None
    receivers: list[dict[str, Any]] = []
    for name, receiver in scratch.sorted():
        if name != latest:
            if latest is not None:
                yield _together(rows, latest, receivers)
            latest, receivers = name, []
        receivers.append(orjson.loads(receiver))
    if latest is not None:
        yield _together(rows, latest, receivers)


def _together(rows: RawRows, name: bytes, receivers: list[dict[str, Any]]) -> Entry:
    message = rows.get(SHARED_MESSAGES + _SEPARATOR + name)
    assert message is not None, "a shared message is there as long as a delivery names it"
    return file.DELIVERY, {"message": _message(message), "receivers": receivers}


def _receiver(
    queue: bytes, seq: bytes, held: bool, available: bool, stored: StoredDelivery
) -> dict[str, Any]:
    return {
        "queue": queue.decode(),
        "seq": int.from_bytes(seq, "big"),
        "held": held,
        "available": available,
        "tries": stored.tries,
        "until": stored.until,
        "leased": stored.leased,
        "consumer": stored.consumer.decode(),
        "expires_at": stored.expires_at,
    }


def _message(raw: bytes) -> tuple[str, dict[str, Any]] | bytes:
    """Return a message as fields if that tells its bytes; else the bytes."""
    values = read(raw)[1]
    return (_MESSAGE, values) if encode_message(values) == raw else raw


def _bucket_kind(rows: RawRows, first: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of all buckets that begin with a byte."""
    return rows.scan(first, bytes((first[0] + 1,)))
