"""Deliveries as JSON, the same for HTTP, WebSocket and server-sent events.

Knows rows and JSON, nothing of connections.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from streams.events.codec import read
from streams.events.definitions import MISSING, definitions
from streams.events.records import Message
from streams.fold import Rows
from streams.folds import row_keys
from streams.folds.delivery import is_plain, unpack, whole

FLAT_BYTES = 512
"""Cost of a delivery in addition to its message."""
SMALL_BYTES: Final = 1024
"""Up to this size, the JSON of a message is cached: a message goes to many queues."""
CACHED: Final = 2048
"""Messages whose JSON is cached."""
PAGE_READS: Final = 512
"""Rows read in vain after which a page ends: a queue may hold any number of expired messages."""

_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_SHOWN: Final = [
    (field.name, MISSING if field.delivered == "always" else field.default)
    for field in definitions()["Message"].fields
    if field.delivered != "never"
]
"""Fields that clients see, and the value with which they are left out."""


class Shown(NamedTuple):
    """One delivery as JSON."""

    seq: int
    members: bytes
    """The members of the JSON object, without braces: `"seq":1,"id":...`."""

    def object(self) -> bytes:
        """Return the JSON object."""
        return b"{%b}" % self.members


class Page(NamedTuple):
    """Deliveries of a queue in ascending order of seq."""

    found: list[Shown]
    last: int
    """The last seq looked at; the next page starts after it."""
    more: bool
    """Whether there may be more after `last`, even if nothing was found."""
    size: int
    """Bytes, with `FLAT_BYTES` for each delivery."""
    skipped: int
    """Rows of expired messages that were read in vain."""


def page(rows: Rows, queue: str, after: int, limit: int, most_bytes: int) -> Page:
    """Return the deliveries of a queue with a seq above `after` that have not expired.

    Returns at most `limit`; the one that takes the total size past `most_bytes` is the last.
    The page also ends after `PAGE_READS` expired rows, so that it takes bounded time.
    """
    found: list[Shown] = []
    size, skipped, last = 0, 0, after
    now = time.time_ns() // 1_000_000
    from_bytes = int.from_bytes
    for key, row in rows.scan(row_keys.inbox_bucket(queue), max(after, 0).to_bytes(8, "big")):
        last = from_bytes(key, "big")
        if not is_plain(row) and unpack(row).expired(now):
            skipped += 1
            if skipped == PAGE_READS:
                return Page(found, last, True, size, skipped)
            continue
        one = shown(rows, last, row)
        found.append(one)
        size += len(one.members) + FLAT_BYTES
        if size > most_bytes or len(found) == limit:
            return Page(found, last, True, size, skipped)
    return Page(found, last, False, size, skipped)


def some(rows: Rows, queue: str, seqs: Iterable[int]) -> list[Shown]:
    """Return the deliveries of a queue with these seqs, leaving out those that are gone."""
    bucket = row_keys.inbox_bucket(queue)
    found = ((seq, rows.get(bucket, seq.to_bytes(8, "big"))) for seq in seqs)
    return [shown(rows, seq, row) for seq, row in found if row is not None]


def shown(rows: Rows, seq: int, row: bytes) -> Shown:
    """Return a delivery, given its row, without fields that have their default value."""
    if is_plain(row):
        return Shown(seq, b'"seq":%d,%b' % (seq, _message(row)))
    delivery = whole(rows, unpack(row))
    more: dict[str, Any] = {}
    if delivery.tries:
        more["tries"] = delivery.tries
    if delivery.until:
        more["until"] = delivery.until
    if delivery.leased:
        more["consumer"] = delivery.consumer.decode()
    members = b'"seq":%d,%b' % (seq, _message(delivery.message))
    return Shown(seq, b"%b,%b" % (members, orjson.dumps(more)[1:-1]) if more else members)


def message_fields(message: Message) -> dict[str, Any]:
    """Return the JSON of a message; fields with their defaults are left out."""
    return _json_fields({name: getattr(message, name) for name, _ in _SHOWN})


def _json_fields(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, default in _SHOWN:
        value = values[name]
        if name == "body":
            text = text_of(value)
            if text is not None:
                found["body"] = text
            else:
                found["body_base64"] = base64.b64encode(value).decode()
        elif value != default:
            found[name] = value
    return found


def text_of(body: bytes) -> str | None:
    """Return the body as text; None if it is not UTF-8 or holds control characters."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _NOT_TEXT.search(text) else text


def _message(message: bytes) -> bytes:
    """Return the JSON members of a message in Avro single-object encoding."""
    return _cached_members(message) if len(message) <= SMALL_BYTES else _members(message)


def _members(message: bytes) -> bytes:
    return orjson.dumps(_json_fields(read(message)[1]))[1:-1]


_cached_members = lru_cache(CACHED)(_members)
