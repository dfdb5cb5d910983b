"""The methods of the class exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from pamqp import commands

from streams.gateway.amqp import exchanges, names
from streams.gateway.amqp.channel import Channel
from streams.gateway.amqp.errors import (
    ACCESS_REFUSED,
    PRECONDITION_FAILED,
    AMQPError,
    not_implemented,
)
from streams.gateway.amqp.exchanges import Exchange
from streams.gateway.amqp.session import Session
from streams.kafka.partitioner import partition_of

_NOT_THERE: Final = ("headers",)


async def declare(session: Session, channel: Channel, method: commands.Exchange.Declare) -> None:
    """Make an exchange, or check that it is as declared."""
    name, table = method.exchange, session.exchanges
    if name == names.DEFAULT:
        raise AMQPError(ACCESS_REFUSED, "the default exchange cannot be declared")
    if method.passive:
        await table.type_of(name, session.questions)
    else:
        await _declare(session, method)
    if not method.nowait:
        session.reply(channel, commands.Exchange.DeclareOk())


async def _declare(session: Session, method: commands.Exchange.Declare) -> None:
    name, table, questions = method.exchange, session.exchanges, session.questions
    wanted = Exchange(name, method.exchange_type, bool(method.durable), bool(method.auto_delete))
    if name in exchanges.PREDECLARED:
        exchanges.check_same(Exchange(name, exchanges.PREDECLARED[name], True, False), wanted)
        return
    if name.startswith(names.RESERVED):
        raise AMQPError(ACCESS_REFUSED, f"names that begin with {names.RESERVED!r} are reserved")
    session.feed.parser.permissions.check_group(names.group(name, names.FANOUT_TYPE, ""))
    await table.read(questions)
    found = await table.find(name, questions)
    if found is not None:
        exchanges.check_same(found, wanted)
        return
    _check_possible(method)
    record = table.declaration(wanted)
    await session.write(record)
    found = await table.arrived(name, record.message_id, questions)
    if found.ids[0] != record.message_id:  # another client declared it at the same time
        own = found.seqs[found.ids.index(record.message_id)]
        await session.write(table.removal((own,)))
    exchanges.check_same(found, wanted)


def _check_possible(method: commands.Exchange.Declare) -> None:
    """Refuse an exchange that there cannot be."""
    kind = method.exchange_type
    if kind in _NOT_THERE:
        raise not_implemented(f"exchanges of type {kind}; there are {', '.join(exchanges.TYPES)}")
    if kind not in exchanges.TYPES:
        raise AMQPError(PRECONDITION_FAILED, f"unknown exchange type {kind!r}")
    if method.internal:
        raise not_implemented("internal exchanges")
    for name in method.arguments or {}:
        if name == "alternate-exchange":
            raise not_implemented("alternate exchanges")
        raise AMQPError(PRECONDITION_FAILED, f"unknown argument {name!r} of exchange.declare")


async def delete(session: Session, channel: Channel, method: commands.Exchange.Delete) -> None:
    """Delete an exchange; its bindings end with it."""
    name, table, questions = method.exchange, session.exchanges, session.questions
    if name == names.DEFAULT or name.startswith(names.RESERVED):
        raise AMQPError(ACCESS_REFUSED, f"exchange {name!r} cannot be deleted")
    await table.read(questions)
    found = await table.find(name, questions)
    if found is not None:
        await _delete(session, found, if_unused=bool(method.if_unused))
    if not method.nowait:
        session.reply(channel, commands.Exchange.DeleteOk())


async def _unbind(session: Session, bindings: list[tuple[str, str]]) -> None:
    for group, _ in bindings:
        session.feed.parser.permissions.check_group(group)
    records = [session.exchanges.unbinding(*binding) for binding in bindings]
    await session.pace(sum(record.events for record in records))
    await asyncio.gather(*map(session.append_confirmed, records))


async def _delete(session: Session, found: Exchange, *, if_unused: bool) -> None:
    table, questions = session.exchanges, session.questions
    group = names.group(found.name, names.FANOUT_TYPE, "")
    session.feed.parser.permissions.check_group(group)
    partitions: Iterable[int] = range(table.partitions)  # of groups: a direct exchange has many
    if found.type in names.OF_ONE_GROUP:
        partitions = [partition_of(group.encode(), table.partitions)]
    for partition in partitions:
        while bindings := await questions.bindings(found.name, partition):
            if if_unused:
                raise AMQPError(PRECONDITION_FAILED, f"exchange {found.name!r} is in use")
            await _unbind(session, bindings)
    session.bound.clear()
    await session.write(table.removal(found.seqs))
    await table.read(questions)
