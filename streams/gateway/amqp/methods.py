"""Which function does which method of a channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from pamqp import base, commands

from streams.gateway.amqp import basic_methods, exchange_methods, frames, queue_methods
from streams.gateway.amqp.channel import Channel
from streams.gateway.amqp.confirms import Confirms
from streams.gateway.amqp.errors import COMMAND_INVALID, AMQPError, not_implemented
from streams.gateway.amqp.session import Session

Handler: TypeAlias = Callable[[Session, Channel, Any], Awaitable[None]]


async def flow(session: Session, channel: Channel, method: commands.Channel.Flow) -> None:
    """Stop or resume the deliveries of a channel."""
    channel.flows = bool(method.active)
    session.reply(channel, commands.Channel.FlowOk(channel.flows))
    if channel.flows:
        session.refill(channel)


async def confirm_select(
    session: Session, channel: Channel, method: commands.Confirm.Select
) -> None:
    """Confirm the messages of a channel from now on."""
    if channel.confirms is None:
        channel.confirms = Confirms()
    if not method.nowait:
        session.reply(channel, commands.Confirm.SelectOk())


async def _flow_ok(session: Session, channel: Channel, method: base.Frame) -> None:
    """Ignore it: this side never stops the deliveries of a client."""


HANDLERS: Final[dict[type, Handler]] = {
    frames.Ack: basic_methods.ack,
    commands.Basic.Cancel: basic_methods.cancel,
    commands.Basic.Consume: basic_methods.consume,
    commands.Basic.Get: basic_methods.get,
    commands.Basic.Nack: basic_methods.nack,
    commands.Basic.Qos: basic_methods.qos,
    commands.Basic.Recover: basic_methods.recover,
    commands.Basic.RecoverAsync: basic_methods.recover_async,
    commands.Basic.Reject: basic_methods.reject,
    commands.Channel.Flow: flow,
    commands.Channel.FlowOk: _flow_ok,
    commands.Confirm.Select: confirm_select,
    commands.Exchange.Declare: exchange_methods.declare,
    commands.Exchange.Delete: exchange_methods.delete,
    commands.Queue.Bind: queue_methods.bind,
    commands.Queue.Declare: queue_methods.declare,
    commands.Queue.Delete: queue_methods.delete,
    commands.Queue.Purge: queue_methods.purge,
    commands.Queue.Unbind: queue_methods.unbind,
}
_NOT_THERE: Final = (commands.Exchange.Bind, commands.Exchange.Unbind)


async def do(session: Session, channel: Channel, method: frames.Method) -> None:
    """Do a method of a client on an open channel.

    Raises:
        StreamsError: it is refused; the channel or the connection is to be closed.
    """
    handler = HANDLERS.get(type(method))
    if handler is not None:
        await handler(session, channel, method)
        return
    name = getattr(method, "name", type(method).__name__)
    if isinstance(method, _NOT_THERE) or name.startswith("Tx."):
        raise not_implemented(f"{name}: there are no transactions and no bindings of exchanges")
    raise AMQPError(COMMAND_INVALID, f"a client may not send {name} here")
