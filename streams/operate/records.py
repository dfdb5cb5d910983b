"""Decodes the records of the product's topics into plain JSON values, for `streams tail`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import Message

from streams.engine.changelog import MARKER, Unfinished, unpack_marker
from streams.errors import Unavailable
from streams.events.codec import decode
from streams.fold import BadRecord
from streams.folds.row_keys import split_row_key
from streams.folds.tables import TABLES
from streams.operate import describe
from streams.operate.topic_log import as_bytes, headers
from streams.settings import Settings


def describe_record(
    settings: Settings,
    message: Message,
    translated: Callable[[str, bytes | None], bytes | None] = lambda _topic, value: value,
) -> dict[str, Any]:
    """Return a record's position, time, key, type, headers and `value`.

    Instead of `value`, a record that cannot be decoded has `raw` and `problem`.  `translated`
    reads other framings (`TopicLog.translated`).
    """
    found = {name: describe.text(value) for name, value in headers(message).items()}
    key, value = as_bytes(message.key()), as_bytes(message.value())
    record: dict[str, Any] = {
        "partition": message.partition(),
        "offset": message.offset(),
        "at": describe.iso(message.timestamp()[1]),
        "key": describe.text(key),
        "type": found.pop("type", None),
    }
    if found:
        record["headers"] = found
    for table in TABLES:
        if message.topic() == settings.changelog(table):
            return record | describe_change(table, key or b"", value)
    if value is None:
        return record | {"value": None}
    try:
        event = decode(translated(str(message.topic()), value))
    except (BadRecord, Unavailable) as problem:
        return record | {"raw": describe.text(value), "problem": str(problem)}
    return record | {"type": type(event).__name__, "value": describe.event(event)}


def describe_change(table: str, key: bytes, value: bytes | None) -> dict[str, Any]:
    """Return the `type` and `value` of a changelog record: a row, a deletion or a marker."""
    if key == MARKER:
        try:
            return {"type": "marker", "value": {"source_offset": unpack_marker(value)}}
        except Unfinished:
            return {"type": "marker", "value": {"source_offset": None, "unfinished": True}}
    if value is None:
        try:
            kind: str = split_row_key(table, key).kind
        except ValueError:
            kind = "unknown"
        return {"type": f"delete {kind}", "value": None}
    row = describe.row(table, key, value)
    return {"type": row.pop("row"), "value": row}
