"""The methods of the class basic, except publish: consuming and acknowledging."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from pamqp import commands

from streams.folds.jobs import REJECT, RETRY
from streams.gateway.amqp import frames, names
from streams.gateway.amqp.channel import Channel, Consumer, Unacked
from streams.gateway.amqp.delivering import unpacked
from streams.gateway.amqp.errors import (
    NOT_ALLOWED,
    PRECONDITION_FAILED,
    AMQPError,
    not_implemented,
)
from streams.gateway.amqp.feed import LEASE_SECONDS
from streams.gateway.amqp.session import Session

MAX_CONSUMERS: Final = 10_000
"""Consumers of one connection."""


async def qos(session: Session, channel: Channel, method: commands.Basic.Qos) -> None:
    """Limit what consumers hold: all of the channel together, or each that begins later."""
    if method.prefetch_size:
        raise not_implemented("a prefetch size in bytes")
    if method.global_:
        channel.prefetch = method.prefetch_count
        session.refill(channel)
    else:
        channel.consumer_prefetch = method.prefetch_count
    session.reply(channel, commands.Basic.QosOk())


async def consume(session: Session, channel: Channel, method: commands.Basic.Consume) -> None:
    """Begin to deliver the messages of a queue."""
    queue = method.queue or channel.last_queue
    if method.no_local:
        raise not_implemented("no-local")
    for name in method.arguments or {}:
        if name == "x-priority":
            raise not_implemented("priorities of consumers")
        raise AMQPError(PRECONDITION_FAILED, f"unknown argument {name!r} of basic.consume")
    tag = method.consumer_tag or channel.new_tag()
    if tag in channel.consumers:
        raise AMQPError(NOT_ALLOWED, f"the consumer tag {tag!r} is in use on this channel")
    if sum(len(one.consumers) for one in session.channels.values()) >= MAX_CONSUMERS:
        raise AMQPError(NOT_ALLOWED, f"a connection may have at most {MAX_CONSUMERS} consumers")
    await session.existing(queue)
    consumer = Consumer(
        channel,
        tag,
        queue,
        bool(method.no_ack),
        bool(method.exclusive),
        channel.consumer_prefetch,
    )
    session.registry.consumer_begins(consumer)
    channel.consumers[tag] = consumer
    if not method.nowait:
        session.reply(channel, commands.Basic.ConsumeOk(tag))
    try:
        session.feed.consume(consumer)
    except BaseException:
        session.end_consumer(consumer)
        raise


async def cancel(session: Session, channel: Channel, method: commands.Basic.Cancel) -> None:
    """End a consumer; it keeps what it has not acknowledged."""
    consumer = channel.consumers.get(method.consumer_tag or "")
    if consumer is not None:
        session.end_consumer(consumer)
    if not method.nowait:
        session.reply(channel, commands.Basic.CancelOk(method.consumer_tag))


async def get(session: Session, channel: Channel, method: commands.Basic.Get) -> None:
    """Deliver one message, if there is one."""
    queue = method.queue or channel.last_queue
    await session.settled(names.check_queue(queue))
    state = await session.existing(queue)
    found = None
    if state.depth:
        found = await session.questions.lease(queue, session.feed.name, LEASE_SECONDS)
    if found is None:
        session.reply(channel, commands.Basic.GetEmpty())
        return
    held = session.registry.held[queue]
    seq, no_ack = found["seq"], bool(method.no_ack)
    envelope, body, redelivered = unpacked(found)
    tag = channel.delivered(queue, seq, None, no_ack=no_ack)
    if no_ack:
        session.feed.ack(queue, [seq])
    left = max(0, state.depth - held - 1)
    session.send(
        frames.get_ok(
            channel.number, tag, redelivered, envelope.exchange, envelope.routing_key, left
        )
        + frames.content(channel.number, envelope.properties, body, session.frame_max)
    )


async def ack(session: Session, channel: Channel, method: frames.Ack) -> None:
    """Acknowledge deliveries."""
    _settle(session, channel, method.delivery_tag, method.multiple, None)


async def nack(session: Session, channel: Channel, method: commands.Basic.Nack) -> None:
    """Return deliveries to the queue, or reject them."""
    outcome = RETRY if method.requeue else REJECT
    _settle(session, channel, method.delivery_tag, bool(method.multiple), outcome)


async def reject(session: Session, channel: Channel, method: commands.Basic.Reject) -> None:
    """Return one delivery to the queue, or reject it."""
    _settle(session, channel, method.delivery_tag or 0, False, RETRY if method.requeue else REJECT)


def _settle(
    session: Session, channel: Channel, tag: int, multiple: bool, outcome: str | None
) -> None:
    seqs: dict[str, list[int]] = defaultdict(list)
    settled: list[Unacked] = channel.settle(tag, multiple)
    for one in settled:
        seqs[one.queue].append(one.seq)
    for queue, some in seqs.items():
        if outcome is None:
            session.feed.ack(queue, some)
        else:
            session.feed.nack(queue, some, outcome)
    if channel.prefetch:
        session.refill(channel)
    else:
        for queue in seqs:
            session.feed.refill(queue)


async def recover(session: Session, channel: Channel, method: commands.Basic.Recover) -> None:
    """Return all deliveries of the channel to their queues."""
    if not method.requeue:
        raise not_implemented("recover without requeue")
    session.requeue(channel)
    session.reply(channel, commands.Basic.RecoverOk())


async def recover_async(
    session: Session, channel: Channel, method: commands.Basic.RecoverAsync
) -> None:
    """Do as `recover`, without an answer."""
    if not method.requeue:
        raise not_implemented("recover without requeue")
    session.requeue(channel)
