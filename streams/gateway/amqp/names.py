"""The groups that stand for exchanges and routing keys.

=======================  ====================================================
exchange, routing key    destination
=======================  ====================================================
the default one, K       the queue K
`amq.direct`, K          the group K, as all doors name it
direct E, K              the group `E/K`
fanout or topic E        the group `E/`; a topic exchange has the patterns in its bindings, and the
                         key in the header `routing-key` of its messages
=======================  ====================================================

In E, `%`, `/` and `@` are written as `%25`, `%2F` and `%40`, so that no two pairs share a group.
"""

from __future__ import annotations

from typing import Final

from streams.gateway.amqp.errors import ACCESS_REFUSED, PRECONDITION_FAILED, AMQPError
from streams.ids import DIRECT, direct_group, direct_queue, problem

DEFAULT: Final = ""
DIRECT_EXCHANGE: Final = "amq.direct"
FANOUT_EXCHANGE: Final = "amq.fanout"
TOPIC_EXCHANGE: Final = "amq.topic"
RESERVED: Final = "amq."
TABLE: Final = "amq.exchanges"
"""The queue that holds the declarations of exchanges; no client uses it."""
DIRECT_TYPE: Final = "direct"
FANOUT_TYPE: Final = "fanout"
TOPIC_TYPE: Final = "topic"
OF_ONE_GROUP: Final = (FANOUT_TYPE, TOPIC_TYPE)
"""Types of exchanges that are one group each."""


def group(exchange: str, kind: str, routing_key: str) -> str:
    """Return the group that a queue is bound to, or a message is sent to.

    Raises:
        AMQPError: 406, the routing key cannot be part of a group's id.
    """
    if exchange == DEFAULT:
        return direct_group(check_queue(routing_key))
    if exchange == DIRECT_EXCHANGE and routing_key and not routing_key.startswith(DIRECT):
        return _checked(routing_key, f"the routing key {routing_key!r}")
    name = prefix(exchange) if kind in OF_ONE_GROUP else prefix(exchange) + routing_key
    return _checked(name, f"exchange and routing key, together {name!r}")


def prefix(exchange: str) -> str:
    """Return how the groups of an exchange begin; the group of one that is a single group."""
    escaped = exchange.replace("%", "%25").replace("/", "%2F").replace("@", "%40")
    return f"{escaped}/"


def exchange_of(group: str) -> tuple[str, str | None]:
    """Return the exchange and the key that a group stands for; no key if that is all of it."""
    queue = direct_queue(group)
    if queue is not None:
        return DEFAULT, queue
    exchange, slash, key = group.partition("/")
    if not slash or not exchange:
        return DIRECT_EXCHANGE, group
    for written, meant in (("%2F", "/"), ("%40", "@"), ("%25", "%")):
        exchange = exchange.replace(written, meant)
    return exchange, key or None


def check_queue(name: str) -> str:
    """Return the name of a queue if it is one that Streams can have.

    Raises:
        AMQPError: 406, it is not; 403, it is the table of exchanges.
    """
    if name == TABLE:
        raise AMQPError(ACCESS_REFUSED, f"the queue {name!r} holds the exchanges")
    return _checked(name, f"the name of the queue {name!r}")


def _checked(name: str, what: str) -> str:
    reason = problem(name)
    if reason is not None:
        raise AMQPError(PRECONDITION_FAILED, f"{what} {reason}")
    return name
