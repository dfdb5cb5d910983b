"""What a message that died in queues tells of its deaths, and where it goes.  Pure.

A message that goes to a group (option `dead_letter_group`) has its deaths in one header, as JSON:
an array of objects, the latest first, one for each queue and reason.  AMQP clients get them as
`x-death`, whose rules these are (RabbitMQ, "Dead Letter Exchanges").
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from streams.ids import direct_queue

DEATHS: Final = "dead-letter-deaths"
"""The header."""
AMQP_HEADER: Final = "amqp"
"""The header in which AMQP clients' messages have exchange, routing key and properties."""
REJECTED: Final = "rejected"
_MOST_TIMES: Final = 1 << 53
"""Largest number that every reader of JSON takes as an integer."""
MOST: Final = 32
"""Deaths that are kept: a message that has seen more queues forgets the first ones."""


class Death(NamedTuple):
    """How often a message died in a queue for one reason."""

    queue: str
    reason: str
    """`tries`, `rejected`, `expired` or `overflow`."""
    group: str
    """The group that it was sent to."""
    times: int
    at: int
    """When it first died so, in milliseconds since the epoch."""


def deaths(headers: Mapping[str, str]) -> list[Death]:
    """Return the deaths in the headers of a message, the latest first.

    None of a header that no fold wrote: clients may send any.
    """
    try:
        found = [Death(**one) for one in orjson.loads(headers.get(DEATHS, "[]"))][:MOST]
    except (TypeError, ValueError):
        return []
    return found if all(map(_is_sound, found)) else []


def _is_sound(death: Death) -> bool:
    """Tell whether the fields are of their types, and the numbers in their ranges."""
    texts, numbers = (death.queue, death.reason, death.group), (death.times, death.at)
    return all(type(text) is str for text in texts) and all(
        type(number) is int and 0 <= number <= _MOST_TIMES for number in numbers
    )


def after_death(before: list[Death], latest: Death) -> list[Death]:
    """Return the deaths of a message after one more."""
    same = [one for one in before if (one.queue, one.reason) == (latest.queue, latest.reason)]
    others = [one for one in before if one not in same]
    for one in same:
        times = min(one.times + latest.times, _MOST_TIMES)
        latest = latest._replace(times=times, at=one.at)
    return [latest, *others][:MOST]


def goes_round(before: list[Death], queue: str, reason: str) -> bool:
    """Tell whether a message comes from queue to queue by itself, and would for ever.

    It does if it died in this queue before, and no consumer has rejected it since.
    """
    if reason == REJECTED:
        return False
    for one in before:
        if one.reason == REJECTED:
            return False
        if one.queue == queue:
            return True
    return False


def packed(found: list[Death]) -> str:
    """Return the value of the header."""
    return orjson.dumps([one._asdict() for one in found]).decode()


def routing_key(values: Mapping[str, Any]) -> str:
    """Return the routing key of a message, given its fields.

    That of its AMQP client, as it is in the header `amqp`: a version, exchange and key, each with
    its length in one byte; then properties.  Otherwise the name of its group or queue.
    """
    try:
        data = base64.b64decode(values["headers"][AMQP_HEADER], validate=True)
        at = 2 + data[1]
        end = at + 1 + data[at]
        if data[0] == 1 and end <= len(data):
            return data[at + 1 : end].decode()
    except (KeyError, IndexError, binascii.Error, UnicodeDecodeError, ValueError):
        pass  # a client of another door wrote a header of that name
    group: str = values["group"]
    queue = direct_queue(group)
    return group if queue is None else queue
