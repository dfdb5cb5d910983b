"""Turns table rows and events into plain JSON values."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from streams.events.codec import decode
from streams.events.records import Routed
from streams.fold import BadRecord, split_raw_key
from streams.folds import options
from streams.folds.delivery import StoredDelivery, unpack
from streams.folds.partition_counts import unpack_counts
from streams.folds.patterns import has_patterns, session_of
from streams.folds.row_keys import split_row_key
from streams.folds.sessions import unpack_terms


def row(table: str, key: bytes, value: bytes) -> dict[str, Any]:
    """Return a raw row of `members` or `queues` as plain JSON values; `row` is its kind."""
    try:
        name = split_row_key(table, key)
    except ValueError:
        return {"row": "unknown", "key": text(key), "value": text(value)}
    _, suffix = split_raw_key(key)
    found: dict[str, Any] = {"row": name.kind}
    match name.kind:
        case "member":
            found |= {"group": name.owner, "queue": name.detail}
            found |= {"session": session_of(value).decode(errors="replace") or None}
            found |= {"queue_partition": int.from_bytes(value[:2], "big")}
            found |= {"patterns": True} if has_patterns(value) else {}
        case "pattern":
            found |= {"group": name.owner, "queue": name.detail}
            found |= {"pattern": text(suffix.partition(b"\0")[2])}
        case "patterns":
            found |= {"group": name.owner, "patterns": int.from_bytes(value, "big")}
        case "covered sessions":
            found |= {"group": name.owner, "queue": name.detail}
            found |= {"sessions": [text(session) for session in value.split(b"\0")[:-1]]}
        case "message id":
            found |= {"group": name.owner, "id": name.detail, "at": _time(value)}
            found |= _sender(suffix)
        case "expiry":
            found |= {"group": name.owner, "id": name.detail, "at": _time(suffix[:8])}
            found |= _sender(suffix[8:].partition(b"\0")[2])
        case "log time":
            found |= {"at": _time(value[:8])}
        case "watermark" | "second watermark":
            found |= {"source_partition": name.detail, "offset": int.from_bytes(value[:8], "big")}
            found |= {"part": int.from_bytes(value[8:], "big")}
        case "binding":
            found |= {"queue": name.owner, "group": name.detail}
            found |= {"session": value.decode(errors="replace") or None}
        case "delivery" | "held":
            found |= {"queue": name.owner, "seq": name.detail, **_delivery(unpack(value))}
        case "transient" | "available":
            found |= {"queue": name.owner, "seq": name.detail}
        case "options":
            queue = options.unpack(value)
            found |= {"queue": name.owner, "options": event(queue.options)}
            found |= {"length": queue.length, "bytes": queue.size, "jobs": queue.jobs}
            found |= {"used": iso(queue.used)}
        case "timer":
            found |= {"queue": name.owner, "due": _time(suffix[:8]), "for": text(suffix[8:9])}
        case "session terms":
            terms = unpack_terms(value)
            found |= {"queue": name.owner, "ttl_ms": terms.ttl, "heard": iso(terms.heard)}
            found |= {"presence": not terms.hidden}
        case "shared message":
            found |= {"shared_message": name.detail, "message": plain(value)}
        case "sharers":
            found |= {"shared_message": name.detail, "rows": int.from_bytes(value, "big")}
        case "foundation":
            found |= {"seq_base": int.from_bytes(value[:8], "big")}
        case "partitions":
            found |= {"partitions": unpack_counts(value)}
        case "large group":
            found |= {"group": name.owner}
        case "closed session":
            found |= {"queue": name.owner, "session": value[8:].decode(errors="replace")}
            found |= {"closed": _time(value[:8])}
        case "closed lately":
            found |= {"at": _time(value[:8]), "sessions": int.from_bytes(value[8:], "big")}
        case "level":
            found |= {"level": int.from_bytes(value, "big")}
        case "session":
            found |= {"queue": name.owner, "session": value.decode(errors="replace")}
    return found


def _sender(ident: bytes) -> dict[str, Any]:
    """Return the sender that follows a remembered message id; version 0.1 kept none."""
    _, separator, sender = ident.partition(b"\0")
    return {"sender": text(sender)} if separator else {}


def _delivery(delivery: StoredDelivery) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if delivery.shared:
        found["shared_message"] = int.from_bytes(delivery.shared, "big")
    else:
        found["message"] = plain(delivery.message)
    if delivery.tries:
        found["tries"] = delivery.tries
    if delivery.expires_at:
        found["expires"] = iso(delivery.expires_at)
    if delivery.until:
        found["until"] = iso(delivery.until)
    if delivery.leased:
        found["consumer"] = delivery.consumer.decode(errors="replace")
    return found


def event(record: Any) -> dict[str, Any]:
    """Return a record of `streams.events.records` as plain JSON values."""
    if isinstance(record, Routed):
        return _routed(record)
    return {name: plain(value) for name, value in dataclasses.asdict(record).items()}


def _routed(record: Routed) -> dict[str, Any]:
    """Turn the columns of a Routed into entries."""
    changes = zip(
        record.change_offsets,
        record.change_kinds,
        record.change_groups,
        record.change_queues,
        record.change_sessions,
        strict=False,
    )
    deliveries = zip(
        record.delivery_offsets,
        record.delivery_parts,
        record.delivery_messages,
        record.delivery_queues,
        strict=False,
    )
    return {
        "source": record.source,
        "lane": record.lane,
        "log": record.log,
        "changes": [
            {
                "offset": offset,
                "change": "bound" if kind == 1 else "unbound",
                "group": group,
                "queue": queue,
                "session": session or None,
            }
            for offset, kind, group, queue, session in changes
        ],
        "deliveries": [
            {"offset": offset, "part": part, "message": plain(message), "queues": list(queues)}
            for offset, part, message, queues in deliveries
        ],
    }


def plain(value: Any) -> Any:
    """Return a value that JSON can hold; an encoded record becomes its fields."""
    match value:
        case bytes():
            try:
                return event(decode(value))
            except BadRecord:
                return text(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def text(value: bytes | None) -> str | None:
    """Return bytes as text: UTF-8 if valid, otherwise base64 with the prefix `base64:`."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def iso(milliseconds: int) -> str:
    """Return a time as ISO 8601 in UTC, "-" if there is none."""
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return "-"
    shown = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return shown if milliseconds >= 0 else "-"


def _time(raw: bytes) -> str:
    return iso(int.from_bytes(raw, "big"))
