"""The ids of groups, queues, sessions and messages.

An id is 1 to 255 bytes of UTF-8 without control characters (C0, DEL, C1).  A group id that
begins with `@` addresses a single queue; it is `@` and the queue's id, so it may be one byte
longer.  Knows nothing of Kafka, HTTP or tables.
"""

from __future__ import annotations

import re
from typing import Final

from streams.errors import InvalidId

MAX_ID_BYTES: Final = 255
DIRECT: Final = "@"
"""First character of a group id that addresses a single queue."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_NUL: Final = re.compile(r"[\x01-\x1f\x7f-\x9f]")
_SURELY_SHORT: Final = MAX_ID_BYTES // 4  # no character takes more than four bytes


def is_id(text: str) -> bool:
    """Tell whether `text` is a valid id."""
    if 0 < len(text) <= _SURELY_SHORT and text.isprintable():
        return True  # the common case, several times faster than `problem`
    return problem(text) is None


def are_ids(joined: bytes, or_empty: bool = False) -> bool:
    """Tell whether all ids in `joined` are valid: UTF-8, each followed by a NUL.

    With `or_empty`, some may be empty.  Checking them together is much faster than one by one.
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
    """Return why `text` is not a valid id, as the end of a sentence; None if it is valid."""
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


def pattern_problem(text: str) -> str | None:
    """Return why `text` is no pattern of routing keys, as the end of a sentence; None if it is one.

    It may be empty: then it matches the empty routing key.
    """
    return problem(text) if text else None


def is_pattern(text: str) -> bool:
    """Tell whether `text` may be a pattern of routing keys."""
    return not text or is_id(text)


def check_id(text: str, what: str = "id") -> bytes:
    """Return the UTF-8 bytes of an id, as used in Kafka keys and tables.

    Raises:
        InvalidId: `text` is not a valid id; the message begins with `what`.
    """
    reason = problem(text)
    if reason is not None:
        raise InvalidId(f"{what} {reason}")
    return text.encode()


def check_group(text: str, what: str = "group id") -> bytes:
    """Return the UTF-8 bytes of the id of a group that queues can be bound to.

    Raises:
        InvalidId: `text` is not a valid id, or addresses a single queue.
    """
    encoded = check_id(text, what)
    if text.startswith(DIRECT):
        raise InvalidId(f"{what} begins with {DIRECT}: no queue can be bound to it")
    return encoded


def direct_group(queue: str) -> str:
    """Return the group id that addresses a single queue."""
    return DIRECT + queue


def direct_queue(group: str) -> str | None:
    """Return the queue that a direct group addresses; None for any other group."""
    return group[1:] if group.startswith(DIRECT) else None


def is_destination(group: str) -> bool:
    """Tell whether a message can be sent to `group`: a valid id, or `@` and a valid id."""
    return is_id(group[1:] if group.startswith(DIRECT) else group)


def is_group(text: str) -> bool:
    """Tell whether `text` may be the id of a group that queues can be bound to."""
    return is_id(text) and text[0] != DIRECT
