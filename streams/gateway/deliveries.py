"""Deliveries as clients see them: the same fields by HTTP, WebSocket and server-sent events.

Knows rows and JSON, nothing of connections.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any

from streams.events.records import NORMAL_PRIORITY, Message
from streams.fold import Rows
from streams.folds import views
from streams.folds.delivery import Delivery

FLAT_BYTES = 512
"""What a delivery costs besides its body."""

_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def page(
    rows: Rows, queue: str, after: int, limit: int, most_bytes: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return deliveries of a queue with a seq above `after`, as clients see them.

    At most `limit` of them; the one that brings the bodies over `most_bytes` is the last.
    With them comes whether it was cut short, so that there may be more.
    """
    found: list[dict[str, Any]] = []
    size = 0
    now = time.time_ns() // 1_000_000
    for seq, delivery, message in views.deliveries(rows, queue, after, limit, now):
        found.append(shown(seq, delivery, message))
        size += len(message.body) + FLAT_BYTES
        if size > most_bytes:
            return found, True
    return found, len(found) == limit


def shown(seq: int, delivery: Delivery, message: Message) -> dict[str, Any]:
    """Return one delivery as clients see it; what is as usual is left out."""
    found: dict[str, Any] = {
        "seq": seq,
        "id": message.id,
        "group": message.group,
        "sender": message.sender,
        "kind": message.kind,
        "headers": message.headers,
    }
    text = text_of(message.body)
    if text is not None:
        found["body"] = text
    else:
        found["body_base64"] = base64.b64encode(message.body).decode()
    found["at"] = message.at
    if message.expires_at is not None:
        found["expires_at"] = message.expires_at
    if not message.persistent:
        found["persistent"] = False
    if message.receipt:
        found["receipt"] = True
    if message.priority != NORMAL_PRIORITY:
        found["priority"] = message.priority
    if delivery.tries:
        found["tries"] = delivery.tries
    if delivery.until:
        found["until"] = delivery.until
    if delivery.leased:
        found["consumer"] = delivery.consumer.decode()
    return found


def text_of(body: bytes) -> str | None:
    """Return the body as text, None when it is not UTF-8 or holds control characters."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _NOT_TEXT.search(text) else text
