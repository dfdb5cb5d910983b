"""Takes the fields of a JSON object, one by one, and checks them.

Each `take_` function removes a field from the object and returns its value; what is left at
the end is unknown to the API.  An absent field and null mean the same, except for flags.
Knows nothing of HTTP bodies and events.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from streams.gateway.http.errors import HTTPError, bad_request
from streams.ids import DIRECT, direct_group, direct_queue, pattern_problem, problem

MAX_LONG = 2**63 - 1

Fields = dict[str, Any]


def id_of(name: str, value: Any) -> str:
    """Return `value` if it is a valid id.

    Raises:
        HTTPError: 400 if it is not; the text names the field.
    """
    return _text_of(name, value, problem, "bad_id")


def _text_of(
    name: str, value: Any, problem_of: Callable[[str], str | None], code: str = "bad_field"
) -> str:
    if not isinstance(value, str):
        raise bad_request(code, f"{name} must be a string")
    reason = problem_of(value)
    if reason is not None:
        raise bad_request(code, f"{name} {reason}")
    return value


def group_of(name: str, value: Any) -> str:
    """Return `value` if it is the id of a group that queues can be bound to.

    Raises:
        HTTPError: 400 if it is not; the text names the field.
    """
    group = id_of(name, value)
    if group.startswith(DIRECT):
        raise bad_request(
            "bad_id", f"{name} begins with {DIRECT}: it stands for a single queue, never bound"
        )
    return group


def destination_of(name: str, value: Any) -> str:
    """Return `value` if a message can be sent to it: a group, or `@` and a queue.

    Raises:
        HTTPError: 400 if it cannot; the text names the field.
    """
    queue = direct_queue(value) if isinstance(value, str) else None
    if queue is None:
        return id_of(name, value)
    id_of(f"the queue in {name}", queue)
    return direct_group(queue)


def take_id(fields: Fields, name: str) -> str:
    """Take a required id."""
    return id_of(name, _required(fields, name))


def _required(fields: Fields, name: str) -> Any:
    if name not in fields:
        raise bad_request("bad_field", f"{name} is missing")
    return fields.pop(name)


def take_group(fields: Fields, name: str) -> str:
    """Take a required id of a group that queues can be bound to."""
    return group_of(name, _required(fields, name))


def pattern_of(name: str, value: Any) -> str:
    """Return `value` if it is a pattern of routing keys.

    Raises:
        HTTPError: 400 if it is not; the text names the field.
    """
    return _text_of(name, value, pattern_problem)


def take_pattern(fields: Fields, name: str) -> str:
    """Take a required pattern of routing keys."""
    return pattern_of(name, _required(fields, name))


def take_optional_id(fields: Fields, name: str) -> str | None:
    """Take an optional id."""
    value = fields.pop(name, None)
    return None if value is None else id_of(name, value)


def take_destination(fields: Fields, name: str) -> str:
    """Take a required group id, or `@` and a queue id."""
    return destination_of(name, _required(fields, name))


def take_groups(fields: Fields, name: str) -> list[str]:
    """Take a list of ids of groups that queues can be bound to; absent means empty."""
    return [group_of(f"{name}[{index}]", item) for index, item in _items(fields, name, "ids")]


def take_ids(fields: Fields, name: str) -> list[str]:
    """Take a list of ids; absent means empty."""
    return [id_of(f"{name}[{index}]", item) for index, item in _items(fields, name, "ids")]


def take_strings(fields: Fields, name: str) -> list[str]:
    """Take a list of strings; absent means empty."""
    found = [item for _, item in _items(fields, name, "strings")]
    if not all(isinstance(item, str) for item in found):
        raise bad_request("bad_field", f"{name} must be a list of strings")
    return found


def take_optional_text(
    fields: Fields, name: str, max_length: int | None = None, pattern: str | None = None
) -> str | None:
    """Take an optional string of at most `max_length` characters that matches `pattern`."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, str):
        raise bad_request("bad_field", f"{name} must be a string")
    if max_length is not None and len(value) > max_length:
        raise bad_request("bad_field", f"{name} must have at most {max_length} characters")
    if pattern is not None and not re.fullmatch(pattern, value):
        raise bad_request("bad_field", f"{name} must match {pattern}")
    return value


def take_flag(fields: Fields, name: str, default: bool) -> bool:
    """Take true or false; null is neither."""
    value = fields.pop(name, default)
    if not isinstance(value, bool):
        raise bad_request("bad_field", f"{name} must be true or false")
    return value


def integer_of(name: str, value: Any, low: int = 0, high: int = MAX_LONG) -> int:
    """Return `value` if it is an integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise bad_request("bad_field", f"{name} must be an integer from {low} to {high}")
    return value


def take_optional_integer(
    fields: Fields, name: str, low: int = 0, high: int = MAX_LONG
) -> int | None:
    """Take an optional integer from `low` to `high`."""
    value = fields.pop(name, None)
    return None if value is None else integer_of(name, value, low, high)


def take_optional_time(fields: Fields, name: str, low: int, high: int) -> int | None:
    """Take an optional time in milliseconds since 1970."""
    value = fields.pop(name, None)
    if value is None or (type(value) is int and low <= value <= high):
        return value
    raise bad_request(
        "bad_field",
        f"{name} must be a time in milliseconds since 1970, an integer from {low} (2001) to "
        f"{high} (9999), not in seconds or microseconds",
    )


def take_optional_seconds(fields: Fields, name: str, high_ms: int, low_ms: int = 1) -> int | None:
    """Take an optional number of seconds; return milliseconds."""
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


def take_choice(fields: Fields, name: str, choices: tuple[str, ...]) -> str | None:
    """Take one of several words, optionally."""
    value = fields.pop(name, None)
    if value is None:
        return None
    if value not in choices:
        raise bad_request("bad_field", f"{name} must be one of {', '.join(choices)}")
    return str(value)


def take_integers(
    fields: Fields,
    name: str,
    low: int = 0,
    high: int = MAX_LONG,
    least: int = 0,
    most: int | None = None,
) -> list[int]:
    """Take a list of `least` to `most` integers from `low` to `high`; absent means empty."""
    items = _items(fields, name, "integers")
    found = [integer_of(f"{name}[{index}]", item, low, high) for index, item in items]
    if len(found) < least or (most is not None and len(found) > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise bad_request("bad_field", f"{name} must be a list of {limits} integers")
    return found


def take_strings_by_name(fields: Fields, name: str, max_bytes: int | None) -> dict[str, str]:
    """Take an object whose values are strings; absent means empty.

    Raises:
        HTTPError: 400 if it is something else; 413 if it has more than `max_bytes` bytes.
    """
    value = fields.pop(name, None)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise bad_request("bad_field", f"{name} must be an object whose values are strings")
    if max_bytes is not None:
        size = sum(len(key.encode()) + len(item.encode()) for key, item in value.items())
        if size > max_bytes:
            raise HTTPError(413, "too_large", f"{name} are over the limit of {max_bytes} bytes")
    return value


def take_body(fields: Fields, limit: int) -> bytes:
    """Take the bytes of a message, from either `body` or `body_base64`.

    Raises:
        HTTPError: 400 if not exactly one is given or it is not base64; 413 over `limit` bytes.
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
    """Refuse an object that still has a field, which is unknown.

    Raises:
        HTTPError: 400, naming one field.
    """
    for name in fields:
        raise bad_request("bad_field", f"unknown field {name[:40]!r}")


def _items(fields: Fields, name: str, what: str) -> list[tuple[int, Any]]:
    value = fields.pop(name, None)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request("bad_field", f"{name} must be a list of {what}")
    return list(enumerate(value))
