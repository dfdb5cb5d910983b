"""What may be the id of a group, queue, session or message.

An id is 1 to 255 bytes of UTF-8 without control characters (C0, DEL, C1).  A group id that
begins with `@` names the group of one queue, "directly to queue Q"; it is one byte longer
than the queue's.  Knows nothing of Kafka, HTTP or tables.
"""

from __future__ import annotations

import re
from typing import Final

from streams.errors import InvalidId

MAX_ID_BYTES: Final = 255
DIRECT: Final = "@"
"""First character of a group id that stands for a single queue."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_NUL: Final = re.compile(r"[\x01-\x1f\x7f-\x9f]")
_SURELY_SHORT: Final = MAX_ID_BYTES // 4  # no character takes more than four bytes


def is_id(text: str) -> bool:
    """Tell whether `text` may be an id."""
    if 0 < len(text) <= _SURELY_SHORT and text.isprintable():
        return True  # the common case, several times faster than asking why not
    return problem(text) is None


def are_ids(joined: bytes, or_empty: bool = False) -> bool:
    """Tell whether ids in UTF-8 with a NUL after each are ids, all of them.

    With `or_empty` some may be empty.  Hundreds of ids are checked in the time of a few.
    """
    try:
        text = joined.decode()
    except UnicodeDecodeError:
        return False
    if not text.replace("\0", "").isprintable() and _CONTROL_BUT_NUL.search(text):
        return False
    if not or_empty and (joined.startswith(b"\0") or b"\0\0" in joined):
        return False
    return len(joined) <= MAX_ID_BYTES or max(map(len, joined.split(b"\0"))) <= MAX_ID_BYTES


def problem(text: str) -> str | None:
    """Return why `text` may not be an id, as the end of a sentence; None if it may."""
    if not text:
        return "is empty"
    if len(text) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    if size > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    if _CONTROL.search(text):
        return "contains control characters"
    return None


def check_id(text: str, what: str = "id") -> bytes:
    """Return the id's UTF-8 bytes, as in Kafka keys and tables.

    Raises:
        InvalidId: `text` may not be an id; the error names `what`.
    """
    reason = problem(text)
    if reason is not None:
        raise InvalidId(f"{what} {reason}")
    return text.encode()


def check_group(text: str, what: str = "group id") -> bytes:
    """Return the bytes of the id of a group that queues can be bound to.

    Raises:
        InvalidId: `text` may not be an id, or stands for a single queue.
    """
    encoded = check_id(text, what)
    if text.startswith(DIRECT):
        raise InvalidId(f"{what} begins with {DIRECT}: no queue can be bound to it")
    return encoded


def direct_group(queue: str) -> str:
    """Return the id of the group that means "directly to this queue"."""
    return DIRECT + queue


def direct_queue(group: str) -> str | None:
    """Return the queue that a direct group stands for, None for any other group."""
    return group[1:] if group.startswith(DIRECT) else None


def is_destination(group: str) -> bool:
    """Tell whether a message can be sent to `group`: an id, or `@` and the id of a queue."""
    return is_id(group[1:] if group.startswith(DIRECT) else group)


def is_group(text: str) -> bool:
    """Tell whether `text` may be the id of a group that queues can be bound to."""
    return is_id(text) and text[0] != DIRECT
