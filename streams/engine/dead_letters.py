"""The form of dead letters: records that could not be folded, and why."""

from __future__ import annotations

from typing import Final

from streams.engine.output import Headers
from streams.fold import Record

VALUE_BYTES: Final = 1 << 20
"""A dead letter carries at most this much of the record's value."""
KEY_BYTES: Final = 64 << 10
"""A dead letter carries at most this much of the record's key.

Kafka limits the size of a record only after compression, so a key may be larger.
"""
REASON_BYTES: Final = 1024


def dead_letter(
    topic: str, record: Record, reason: str
) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers of the dead letter for a record of `topic`.

    Headers tell where the record was and why it could not be folded; `truncated` and
    `key-truncated` give the original size in bytes of a value or key that was cut.
    """
    headers: Headers = [
        ("type", b"DeadLetter"),
        ("reason", reason.encode()[:REASON_BYTES]),
        ("topic", topic.encode()),
        ("partition", str(record.partition).encode()),
        ("offset", str(record.offset).encode()),
        ("timestamp", str(record.timestamp).encode()),
    ]
    value = record.value
    if value is not None and len(value) > VALUE_BYTES:
        headers.append(("truncated", str(len(value)).encode()))
        value = value[:VALUE_BYTES]
    key = record.key
    if key is not None and len(key) > KEY_BYTES:
        headers.append(("key-truncated", str(len(key)).encode()))
        key = key[:KEY_BYTES]
    return key, value, headers
