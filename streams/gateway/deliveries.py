"""Deliveries as clients see them: the same fields by HTTP, WebSocket and server-sent events.

Knows rows and JSON, nothing of connections.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from streams.events.records import Message
from streams.fold import Rows
from streams.folds import views

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
    for seq, message in views.inbox(rows, queue, after, limit):
        found.append(shown(seq, message))
        size += len(message.body) + FLAT_BYTES
        if size > most_bytes:
            return found, True
    return found, len(found) == limit


def shown(seq: int, message: Message) -> dict[str, Any]:
    """Return one delivery as clients see it."""
    delivery: dict[str, Any] = {
        "seq": seq,
        "id": message.id,
        "group": message.group,
        "sender": message.sender,
        "kind": message.kind,
        "headers": message.headers,
    }
    text = text_of(message.body)
    if text is not None:
        delivery["body"] = text
    else:
        delivery["body_base64"] = base64.b64encode(message.body).decode()
    delivery["at"] = message.at
    return delivery


def text_of(body: bytes) -> str | None:
    """Return the body as text, None when it is not UTF-8 or holds control characters."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if _NOT_TEXT.search(text) else text
