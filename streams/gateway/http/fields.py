"""Checking the fields of a JSON object, one by one.

Every function takes a field out of the object and says what is wrong with it; what is
left at the end is a field that nobody knows.  Knows nothing of HTTP bodies and records.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from streams.gateway.http.errors import HTTPError, bad_request
from streams.ids import direct_group, direct_queue, problem

MAX_LONG = 2**63 - 1
MAX_HEADER_BYTES = 16 * 1024

Fields = dict[str, Any]


def id_of(name: str, value: Any) -> str:
    """Return `value` if it is an id.

    Raises:
        HTTPError: 400, it is none; the text names the field.
    """
    if not isinstance(value, str):
        raise bad_request("bad_id", f"{name} must be a string")
    reason = problem(value)
    if reason is not None:
        raise bad_request("bad_id", f"{name} {reason}")
    return value


def destination_of(name: str, value: Any) -> str:
    """Return `value` if a message can be sent to it: a group, or `@` and a queue.

    Raises:
        HTTPError: 400, it cannot; the text names the field.
    """
    queue = direct_queue(value) if isinstance(value, str) else None
    if queue is None:
        return id_of(name, value)
    id_of(f"the queue in {name}", queue)
    return direct_group(queue)


def take_id(fields: Fields, name: str) -> str:
    """Take an id that must be there."""
    if name not in fields:
        raise bad_request("bad_field", f"{name} is missing")
    return id_of(name, fields.pop(name))


def take_optional_id(fields: Fields, name: str) -> str | None:
    """Take an id that may be absent or null."""
    value = fields.pop(name, None)
    return None if value is None else id_of(name, value)


def take_destination(fields: Fields, name: str) -> str:
    """Take the id of a group, or `@` and the id of a queue."""
    if name not in fields:
        raise bad_request("bad_field", f"{name} is missing")
    return destination_of(name, fields.pop(name))


def take_ids(fields: Fields, name: str) -> list[str]:
    """Take a list of ids; absent means empty."""
    value = fields.pop(name, None)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request("bad_field", f"{name} must be a list of ids")
    return [id_of(f"{name}[{index}]", item) for index, item in enumerate(value)]


def take_flag(fields: Fields, name: str, default: bool) -> bool:
    """Take true or false."""
    value = fields.pop(name, default)
    if not isinstance(value, bool):
        raise bad_request("bad_field", f"{name} must be true or false")
    return value


def long_of(name: str, value: Any) -> int:
    """Return `value` if it is an integer from 0 to 2**63 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_LONG:
        raise bad_request("bad_field", f"{name} must be an integer from 0 to {MAX_LONG}")
    return value


def take_optional_long(fields: Fields, name: str) -> int | None:
    """Take an integer from 0 to 2**63 - 1 that may be absent or null."""
    value = fields.pop(name, None)
    return None if value is None else long_of(name, value)


def take_optional_count(fields: Fields, name: str, low: int, high: int) -> int | None:
    """Take an integer from `low` to `high` that may be absent or null."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_request("bad_field", f"{name} must be an integer from {low} to {high}")
    return value


def take_optional_seconds(fields: Fields, name: str, high_ms: int, low_ms: int = 1) -> int | None:
    """Take a number of seconds that may be absent or null; return milliseconds."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad_request("bad_field", f"{name} must be a number of seconds")
    if not low_ms / 1000 <= value <= high_ms / 1000:
        raise bad_request(
            "bad_field", f"{name} must be from {low_ms / 1000:g} to {high_ms / 1000:g}"
        )
    return round(value * 1000)


def take_choice(fields: Fields, name: str, choices: tuple[str, ...], default: str) -> str:
    """Take one of several words; absent or null means `default`."""
    value = fields.pop(name, None)
    if value is None:
        return default
    if value not in choices:
        raise bad_request("bad_field", f"{name} must be one of {', '.join(choices)}")
    return str(value)


def take_longs(fields: Fields, name: str) -> list[int]:
    """Take a list of integers; absent means empty."""
    value = fields.pop(name, None)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request("bad_field", f"{name} must be a list of integers")
    return [long_of(f"{name}[{index}]", item) for index, item in enumerate(value)]


def take_headers(fields: Fields) -> dict[str, str]:
    """Take `headers`, a map of strings, bounded in bytes."""
    value = fields.pop("headers", None)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise bad_request("bad_field", "headers must be an object whose values are strings")
    size = sum(len(key.encode()) + len(item.encode()) for key, item in value.items())
    if size > MAX_HEADER_BYTES:
        raise HTTPError(413, "too_large", f"headers are over the limit of {MAX_HEADER_BYTES} bytes")
    return value


def take_body(fields: Fields, limit: int) -> bytes:
    """Take the bytes of a message, from either `body` or `body_base64`.

    Raises:
        HTTPError: 400 for both, none, or what is not base64; 413 over `limit` bytes.
    """
    text, encoded = fields.pop("body", None), fields.pop("body_base64", None)
    if (text is None) == (encoded is None):
        raise bad_request("bad_field", "give either body (a string) or body_base64")
    if text is not None:
        if not isinstance(text, str):
            raise bad_request("bad_field", "body must be a string; use body_base64 for bytes")
        body = text.encode()
    else:
        if not isinstance(encoded, str):
            raise bad_request("bad_base64", "body_base64 must be a string")
        try:
            body = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request(
                "bad_base64", "body_base64 is not base64 (RFC 4648, with padding)"
            ) from None
    if len(body) > limit:
        raise HTTPError(413, "too_large", f"the message body is over the limit of {limit} bytes")
    return body


def refuse_rest(fields: Fields) -> None:
    """Refuse an object in which something is left that nobody took.

    Raises:
        HTTPError: 400, naming one field.
    """
    for name in fields:
        raise bad_request("bad_field", f"unknown field {name[:40]!r}")
