"""The methods of the class queue."""

from __future__ import annotations

from typing import Any, Final

from pamqp import commands

from streams.folds.patterns import MOST_PATTERNS
from streams.gateway.amqp import arguments, names
from streams.gateway.amqp.channel import Channel
from streams.gateway.amqp.errors import (
    ACCESS_REFUSED,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    AMQPError,
    not_implemented,
)
from streams.gateway.amqp.questions import QueueState
from streams.gateway.amqp.session import Session, no_queue
from streams.gateway.writes.event_parser import new_message_id

_FEW_LEFT: Final = 1_000
"""With fewer bindings left of a topic exchange, it is looked whether a new one has found room."""
_DEFAULTS: Final[dict[str, Any]] = {
    "max_length": None,
    "max_bytes": None,
    "overflow": "drop_oldest",
    "max_tries": None,
    "dead_letter": None,
    "dead_letter_group": None,
    "dead_letter_keyed": False,
    "ttl_seconds": None,
    "message_ttl_seconds": None,
}
_ARGUMENTS: Final = {
    "max_length": "x-max-length",
    "max_bytes": "x-max-length-bytes",
    "overflow": "x-overflow",
    "max_tries": "x-delivery-limit",
    "dead_letter": arguments.DEAD_LETTER_EXCHANGE,
    "dead_letter_group": arguments.DEAD_LETTER_EXCHANGE,
    "dead_letter_keyed": "x-dead-letter-routing-key",
    "ttl_seconds": "x-expires",
    "message_ttl_seconds": "x-message-ttl",
}
"""Options of a queue, and the arguments that stand for them."""


async def declare(session: Session, channel: Channel, method: commands.Queue.Declare) -> None:
    """Make a queue, or check that it is as declared."""
    name = method.queue or (channel.last_queue if method.passive else "")
    generated = not name and not method.passive
    if generated:
        name = f"{names.RESERVED}gen-{new_message_id()}"
    names.check_queue(name)
    if method.passive:
        await session.settled(name)
    state = await session.state(name)
    if method.passive:
        session.check_lock(name, state)
        if not state.exists:
            raise no_queue(name)
    else:
        if name.startswith(names.RESERVED) and not generated and not state.exists:
            raise AMQPError(
                ACCESS_REFUSED, f"names that begin with {names.RESERVED!r} are reserved"
            )
        state = await session.unlocked(name, state)
        if state.configured:  # it was there: the answer counts what the client has sent to it
            await session.settled(name)
            state = await session.state(name)
        await _declare(session, name, method, state)
    channel.last_queue = name
    if not method.nowait:
        count = _ready(session, name, state)
        consumers = session.registry.count(name)
        session.reply(channel, commands.Queue.DeclareOk(name, count, consumers))


async def _declare(
    session: Session, name: str, method: commands.Queue.Declare, state: QueueState
) -> None:
    exclusive, own = bool(method.exclusive), name in session.exclusive
    given = method.arguments or {}
    exchange = given.get(arguments.DEAD_LETTER_EXCHANGE)
    kind = names.DIRECT_TYPE
    if isinstance(exchange, str):
        kind = await session.exchanges.type_of(exchange, session.questions)
    options = arguments.read(
        given,
        exclusive=exclusive,
        auto_delete=bool(method.auto_delete),
        dead_letter_type=kind,
    )
    if state.configured:
        if exclusive != own:
            raise AMQPError(RESOURCE_LOCKED, f"queue {name!r} was declared otherwise: exclusive")
        found = await session.questions.options(name)
        _check_same(name, found, _DEFAULTS | options)
    else:
        await session.write(session.feed.parser.configure(name, options | {"only_new": True}))
        # Answered once it is folded, so that every worker knows the queue by then.  Of two clients
        # that declare it at once, the first in the log decides.
        found = await session.questions.options(name)
        _check_same(name, found, _DEFAULTS | options)
        if exclusive:
            terms = {"ttl_seconds": arguments.UNUSED_SECONDS, "presence": False}
            await session.write(session.feed.parser.open(name, session.feed.name, terms))
            session.exclusive.add(name)


def _check_same(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for option, value in wanted.items():
        if found.get(option) != value:
            raise AMQPError(
                PRECONDITION_FAILED,
                f"inequivalent arg {_ARGUMENTS[option]!r} for queue {name!r}: the option {option} "
                f"is {found.get(option)!r}, and this asks for {value!r}",
            )


def _ready(session: Session, queue: str, state: QueueState) -> int:
    """Return how many messages of a queue no client of this worker holds, as RabbitMQ counts."""
    return max(0, state.depth - session.registry.held[queue])


async def bind(session: Session, channel: Channel, method: commands.Queue.Bind) -> None:
    """Bind a queue to an exchange."""
    queue = method.queue or channel.last_queue
    kind, group = await _group(session, method.exchange, method.routing_key)
    if method.arguments:
        raise not_implemented("arguments of a binding")
    await session.existing(queue)
    if kind == names.TOPIC_TYPE:
        await _bind_pattern(session, group, queue, method.routing_key)
    else:
        await session.write(session.feed.parser.bind(group, queue))
    if not method.nowait:
        session.reply(channel, commands.Queue.BindOk())


async def unbind(session: Session, channel: Channel, method: commands.Queue.Unbind) -> None:
    """Remove a binding."""
    queue = method.queue or channel.last_queue
    kind, group = await _group(session, method.exchange, method.routing_key)
    await session.existing(queue)
    if kind == names.TOPIC_TYPE:
        record = session.feed.parser.unbind_pattern(group, queue, method.routing_key)
        session.bound.clear()
    else:
        record = session.feed.parser.unbind(group, queue)
        session.bound.pop((group, None), None)
    await session.write(record)
    session.reply(channel, commands.Queue.UnbindOk())


async def _bind_pattern(session: Session, group: str, queue: str, pattern: str) -> None:
    """Add a pattern, if there is room for it; raises 406 if there is none."""
    record = session.feed.parser.bind_pattern(group, queue, pattern)
    ask = session.questions.patterns
    before = await ask(group, queue)
    if before.of_group >= MOST_PATTERNS and pattern not in before.patterns:
        raise _no_room(group)
    await session.pace(record.events)
    _, offset = await session.append_confirmed(record)
    if before.of_group >= MOST_PATTERNS - _FEW_LEFT:  # others may have taken what was left
        after = await ask(group, queue, offset)
        if not after.bound or (after.patterns and pattern not in after.patterns):
            raise _no_room(group)


def _no_room(group: str) -> AMQPError:
    exchange, _ = names.exchange_of(group)
    return AMQPError(
        PRECONDITION_FAILED,
        f"the topic exchange {exchange!r} has {MOST_PATTERNS} bindings, the most there may be: "
        "remove some, or use another exchange",
    )


async def _group(session: Session, exchange: str, routing_key: str) -> tuple[str, str]:
    """Return the type of an exchange, and the group for a binding to it."""
    if exchange == names.DEFAULT:
        raise AMQPError(ACCESS_REFUSED, "queues cannot be bound to the default exchange")
    kind = await session.exchanges.type_of(exchange, session.questions)
    return kind, names.group(exchange, kind, routing_key)


async def purge(session: Session, channel: Channel, method: commands.Queue.Purge) -> None:
    """Drop what is in a queue."""
    queue = method.queue or channel.last_queue
    await session.settled(names.check_queue(queue))
    state = await session.existing(queue)
    await session.write(session.feed.parser.purge(queue))
    if not method.nowait:
        session.reply(channel, commands.Queue.PurgeOk(state.depth))


async def delete(session: Session, channel: Channel, method: commands.Queue.Delete) -> None:
    """Delete a queue."""
    queue = method.queue or channel.last_queue
    await session.settled(names.check_queue(queue))
    state = await session.state(queue)
    session.check_lock(queue, state)
    if state.exists:
        if method.if_unused and session.registry.count(queue):
            raise AMQPError(PRECONDITION_FAILED, f"queue {queue!r} has consumers")
        if method.if_empty and _ready(session, queue, state):
            raise AMQPError(PRECONDITION_FAILED, f"queue {queue!r} is not empty")
        await session.write(session.feed.parser.delete(queue))
        await session.questions.cleared(queue)
        session.bound.clear()
    session.exclusive.discard(queue)
    if not method.nowait:
        session.reply(channel, commands.Queue.DeleteOk(_ready(session, queue, state)))
