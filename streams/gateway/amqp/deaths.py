"""The headers that tell an AMQP client of the deaths of a message, as RabbitMQ writes them.

`x-death` is an array of tables; the types of its fields are those of RabbitMQ, since clients of
typed languages cast them.  Pure.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from streams.folds import deaths
from streams.folds.deaths import Death
from streams.gateway.amqp import names

X_DEATH: Final = "x-death"
_REASONS: Final = {
    "rejected": "rejected",
    "expired": "expired",
    "overflow": "maxlen",
    "tries": "delivery_limit",
}


class Source(NamedTuple):
    """The exchange and the routing key of a message."""

    exchange: str
    routing_key: str


def source(group: str, own_key: str) -> Source:
    """Return the exchange and key of a message to a group; `own_key` where the group has none."""
    exchange, key = names.exchange_of(group)
    return Source(exchange, own_key if key is None else key)


def headers(message: dict[str, Any], own: Source, expiration: str | None) -> dict[str, bytes]:
    """Return the headers of a dead letter, as encoded values; none of any other message.

    Args:
        message: the delivery, as its JSON has it.
        own: exchange and key that its client published it with.
        expiration: the property that ended with its first death; None without one.
    """
    found = deaths.deaths(message.get("headers", {}))
    if not found:
        return {}
    first = found[-1]
    entries = [_entry(death, own) for death in found]
    if expiration is not None:
        entries[-1]["original-expiration"] = _text(expiration)
    return {
        X_DEATH: _array([_table(entry) for entry in entries]),
        "x-first-death-reason": _text(_REASONS.get(first.reason, first.reason)),
        "x-first-death-queue": _text(first.queue),
        "x-first-death-exchange": _text(source(first.group, own.routing_key).exchange),
    }


def _entry(death: Death, own: Source) -> dict[str, bytes]:
    exchange, key = source(death.group, own.routing_key)
    return {
        "count": b"l" + death.times.to_bytes(8, "big"),
        "reason": _text(_REASONS.get(death.reason, death.reason)),
        "queue": _text(death.queue),
        "time": b"T" + (death.at // 1000).to_bytes(8, "big"),
        "exchange": _text(exchange),
        "routing-keys": _array([_text(key)]),
    }


def _text(text: str) -> bytes:
    return b"S" + _sized(text.encode())


def _array(items: list[bytes]) -> bytes:
    return b"A" + _sized(b"".join(items))


def _table(fields: dict[str, bytes]) -> bytes:
    encoded = (bytes((len(name),)) + name.encode() + value for name, value in fields.items())
    return b"F" + _sized(b"".join(encoded))


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
