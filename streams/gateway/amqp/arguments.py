"""The arguments of queue.declare, as options of a queue.  Unknown ones are errors."""

from __future__ import annotations

from typing import Any, Final

from streams.events.limits import (
    MAX_CONFIGURE_MAX_TRIES,
    MAX_CONFIGURE_MESSAGE_TTL_MS,
    MAX_CONFIGURE_TTL_MS,
)
from streams.gateway.amqp import names
from streams.gateway.amqp.errors import PRECONDITION_FAILED, AMQPError, not_implemented

UNUSED_SECONDS: Final = 60.0
"""How long an exclusive or auto-delete queue outlives its use, if its worker ends at once."""
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
_OVERFLOWS: Final = {"drop-head": "drop_oldest", "reject-publish": "reject"}
_LATER: Final = ("x-single-active-consumer", "x-dead-letter-strategy", "alternate-exchange")
_WITHOUT_EFFECT: Final = ("x-queue-mode", "x-queue-version", "x-max-priority")


def read(
    arguments: dict[str, Any],
    *,
    exclusive: bool,
    auto_delete: bool,
    dead_letter_type: str = names.DIRECT_TYPE,
) -> dict[str, Any]:
    """Return the options that the arguments of a queue.declare stand for.

    They have their names over HTTP; those not given have their defaults.

    Args:
        arguments: the arguments.
        exclusive: whether the queue is exclusive.
        auto_delete: whether the queue is deleted when nobody uses it.
        dead_letter_type: type of the exchange `x-dead-letter-exchange`, if there is one.

    Raises:
        AMQPError: 406 for an unknown argument or a wrong value, 540 for one that there is not.
    """
    left = dict(arguments)
    options: dict[str, Any] = {}
    expires = _integer(left, "x-expires", 1, MAX_CONFIGURE_TTL_MS)
    if expires is not None:
        options["ttl_seconds"] = expires / 1000
    elif exclusive or auto_delete:
        options["ttl_seconds"] = UNUSED_SECONDS
    length = _integer(left, "x-max-length", 1)
    if length is not None:
        options["max_length"] = length
    size = _integer(left, "x-max-length-bytes", 1)
    if size is not None:
        options["max_bytes"] = size
    overflow = left.pop("x-overflow", None)
    if overflow is not None:
        if overflow not in _OVERFLOWS:
            raise not_implemented(f"x-overflow {overflow!r}; there are {', '.join(_OVERFLOWS)}")
        options["overflow"] = _OVERFLOWS[overflow]
    tries = _integer(left, "x-delivery-limit", 0, MAX_CONFIGURE_MAX_TRIES - 1)
    if tries is not None:
        options["max_tries"] = tries + 1
    _dead_letter(left, options, dead_letter_type)
    if left.get("x-message-ttl") == 0:
        raise not_implemented("x-message-ttl 0, delivery at once or never")
    age = _integer(left, "x-message-ttl", 1, MAX_CONFIGURE_MESSAGE_TTL_MS)
    if age is not None:
        options["message_ttl_seconds"] = age / 1000
    kind = left.pop("x-queue-type", "classic")
    if kind not in ("classic", "quorum"):
        raise not_implemented(f"x-queue-type {kind!r}; there are classic and quorum, both the same")
    for name in _WITHOUT_EFFECT:
        left.pop(name, None)
    for name in _LATER:
        if name in left:
            raise not_implemented(f"the argument {name}")
    if left:
        raise AMQPError(PRECONDITION_FAILED, f"unknown argument {next(iter(left))!r}")
    return options


def _dead_letter(left: dict[str, Any], options: dict[str, Any], kind: str) -> None:
    exchange = left.pop(DEAD_LETTER_EXCHANGE, None)
    key = left.pop("x-dead-letter-routing-key", None)
    if exchange is None and key is None:
        return
    if not isinstance(exchange, str):
        raise AMQPError(
            PRECONDITION_FAILED,
            "x-dead-letter-routing-key needs x-dead-letter-exchange"
            if exchange is None
            else f"{DEAD_LETTER_EXCHANGE} must be a string",
        )
    if key is not None and not isinstance(key, str):
        raise AMQPError(PRECONDITION_FAILED, "x-dead-letter-routing-key must be a string")
    if kind == names.TOPIC_TYPE and key is not None:
        raise not_implemented(f"{DEAD_LETTER_EXCHANGE} of type topic with a routing key of its own")
    if kind in names.OF_ONE_GROUP:
        options["dead_letter_group"] = names.group(exchange, kind, "")
    elif key:
        options["dead_letter_group"] = names.group(exchange, kind, key)
    elif exchange in (names.DEFAULT, names.DIRECT_EXCHANGE):
        raise not_implemented(
            f"{DEAD_LETTER_EXCHANGE} {exchange!r} without x-dead-letter-routing-key"
        )
    else:
        options["dead_letter_group"] = names.group(exchange, kind, "")
        options["dead_letter_keyed"] = key is None


def _integer(left: dict[str, Any], name: str, low: int, high: int = 2**62) -> int | None:
    value = left.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise AMQPError(
            PRECONDITION_FAILED, f"{name} must be an integer from {low} to {high}, not {value!r}"
        )
    return value
