"""One client's connection: reads its frames, does them in order, and writes what it is sent.

While a client does not read, the worker reads none of its frames.  It holds a bounded amount for
each client: a page of deliveries, unsent frames, half received messages, and records on their
way to Kafka.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pamqp import commands

from streams.errors import StreamsError
from streams.gateway.amqp import frames, methods
from streams.gateway.amqp.blocking import Blocking
from streams.gateway.amqp.channel import Channel, Consumer, Incoming
from streams.gateway.amqp.delivering import unpacked
from streams.gateway.amqp.errors import (
    CHANNEL_ERROR,
    CONNECTION_FORCED,
    UNEXPECTED_FRAME,
    AMQPError,
    to_amqp_error,
)
from streams.gateway.amqp.feed import EXTEND_SECONDS
from streams.gateway.amqp.frames import Frame
from streams.gateway.amqp.outbox import Outbox
from streams.gateway.amqp.publishing import Publisher
from streams.gateway.amqp.session import Session
from streams.gateway.auth.principal import Principal
from streams.gateway.streaming.lifetime import TokenLifetime

if TYPE_CHECKING:
    from streams.gateway.amqp.login import Opened
    from streams.gateway.amqp.shared import Shared

logger = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
FRAMES_PER_TURN: Final = 50
"""Frames done before the event loop runs other tasks."""
CLOSE_SECONDS: Final = 4.0
"""How long a client may take to answer connection.close."""
SILENT_BEATS: Final = 2.5
"""Intervals of heartbeats after which a client that sent nothing is gone."""


class AMQPConnection:
    """A client that has logged in."""

    def __init__(self, shared: Shared, opened: Opened) -> None:
        self._shared = shared
        self._opened = opened
        self._principal = opened.principal
        self._reader = opened.reader
        self._frames = opened.frames
        self._max_body = shared.settings.max_body_bytes
        to_write = asyncio.Event()
        self._feed = feed = shared.feed(opened.principal, self, to_write)
        self._outbox = Outbox(opened.writer, feed, to_write)
        self._blocking = Blocking(
            shared.authenticator, lambda: self._principal, self._outbox.send,
            told=bool(opened.handshake.capabilities.get("connection.blocked")),
        )  # fmt: skip
        self._session = Session(
            feed, shared.questions(opened.principal), shared.registry, shared.exchanges,
            shared.holders, self._outbox.send, self._blocking.pace, opened.user,
        )  # fmt: skip
        self._session.frame_max = opened.handshake.frame_max
        self._publisher = Publisher(self._session)
        self._lifetime = TokenLifetime(self._expired)
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._reading_since = 0.0
        self._is_reading = False

    @property
    def channels(self) -> int:
        """How many channels are open."""
        return len(self._session.channels)

    async def run(self) -> None:
        """Serve the client until it disconnects or is closed."""
        loop = asyncio.get_running_loop()
        tasks = [
            loop.create_task(work)
            for work in (self._outbox.run(), self._feed.run(), self._beat(), self._keep())
        ]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        self._lifetime.start(self._principal)
        try:
            await self._read_all()
        except ConnectionError:
            pass
        finally:
            # No await here: the server cancels this task when it stops.
            self._lifetime.stop()
            for task in tasks:
                task.cancel()
            self._session.close()
            self._outbox.flush()

    def check_token(self) -> None:
        """Close the connection if its token has been revoked."""
        self._lifetime.check()

    def reassigned(self) -> None:
        """Note that partitions have other owners."""
        self._feed.reassigned()

    async def close(self, code: int, text: str) -> None:
        """Tell the client that the connection is closed, and end it soon."""
        if not self._closed:
            self._closed = True
            self._outbox.send(frames.encode(0, commands.Connection.Close(code, text, 0, 0)))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._outbox.sent(), CLOSE_SECONDS)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._outbox.abort)

    # For the feed ------------------------------------------------------------------------

    def deliver(self, consumer: Consumer, content: dict[str, Any]) -> None:
        """Send a delivery to a consumer that has room."""
        channel, queue, seq = consumer.channel, consumer.queue, content["seq"]
        envelope, body, redelivered = unpacked(content)
        tag = channel.delivered(queue, seq, consumer, no_ack=consumer.no_ack)
        if consumer.no_ack:
            self._feed.ack(queue, [seq])
        self._shared.metrics.delivered.inc()
        self._outbox.send(
            frames.deliver(
                channel.number, consumer.encoded_tag, tag, redelivered,
                envelope.exchange, envelope.routing_key,
            )
            + frames.content(channel.number, envelope.properties, body, self._session.frame_max)
        )  # fmt: skip

    def cancelled(self, consumer: Consumer, reason: str) -> None:
        """Tell the client that a consumer has ended."""
        self._session.end_consumer(consumer)
        if self._opened.handshake.capabilities.get("consumer_cancel_notify"):
            self._session.reply(consumer.channel, commands.Basic.Cancel(consumer.tag, True))

    async def room(self) -> None:
        """Wait until little is unsent."""
        await self._outbox.room()

    # Reading --------------------------------------------------------------------------------

    async def _read_all(self) -> None:
        now = asyncio.get_running_loop().time
        waiting, count = self._opened.waiting, 0
        while True:
            for frame in waiting:
                count += 1
                if not count % FRAMES_PER_TURN:
                    await asyncio.sleep(0)
                if not await self._take(frame):
                    return
                await self._outbox.room()
            self._reading_since, self._is_reading = now(), True
            data = await self._reader.read(READ_BYTES)
            self._is_reading = False
            if not data:
                return
            try:
                waiting = self._frames.feed(data)
            except AMQPError as error:
                await self._refuse(error, 0)
                return

    async def _take(self, frame: Frame) -> bool:
        """Do what a frame says; False when the connection has ended."""
        ids = 0, 0
        try:
            if frame.kind == frames.HEARTBEAT:
                return True
            if frame.kind != frames.METHOD:
                if not self._closed:
                    await self._take_content(frame)
                return True
            method = frames.decode(frame.payload)
            ids = (
                int.from_bytes(frame.payload[:2], "big"),
                int.from_bytes(frame.payload[2:4], "big"),
            )
            if frame.channel == 0:
                return await self._do_connection(method)
            if not self._closed:
                await self._do(frame.channel, method)
        except StreamsError as error:
            return await self._refuse(to_amqp_error(error), frame.channel, ids)
        return True

    async def _take_content(self, frame: Frame) -> None:
        channel = self._session.channels.get(frame.channel)
        if channel is None:
            raise AMQPError(CHANNEL_ERROR, f"channel {frame.channel} is not open")
        if channel.closing:
            return
        incoming: Incoming | None
        if frame.kind == frames.HEADER:
            header = frames.decode_header(frame.payload)
            incoming = channel.header(header)
            if incoming is None:
                pending = sum(one.pending_bytes for one in self._session.channels.values())
                if pending > 4 * self._max_body:
                    raise AMQPError(
                        UNEXPECTED_FRAME, "too many messages have begun at once: finish some first"
                    )
        else:
            incoming = channel.body(frame.payload)
        if incoming is not None:
            self._shared.metrics.published.inc()
            await self._publisher.publish(channel, incoming)

    async def _do(self, number: int, method: frames.Method) -> None:
        channels = self._session.channels
        channel = channels.get(number)
        if isinstance(method, commands.Channel.Open):
            if channel is not None or number > self._opened.handshake.channel_max:
                raise AMQPError(CHANNEL_ERROR, f"channel {number} is open, or over the limit")
            channels[number] = Channel(number, self._max_body, self._shared.registry.held)
            self._session.reply(channels[number], commands.Channel.OpenOk())
            return
        if channel is None:
            raise AMQPError(CHANNEL_ERROR, f"channel {number} is not open")
        if isinstance(method, commands.Channel.CloseOk):
            channels.pop(number)
            return
        if isinstance(method, commands.Channel.Close):
            self._session.end_channel(channel)
            await self._given_back()
            self._session.reply(channel, commands.Channel.CloseOk())
            return
        if channel.closing:
            return
        channel.check_method()
        if isinstance(method, frames.Publish):
            channel.begin(method)
            return
        if not isinstance(method, frames.Ack):
            await self._blocking.pace(1)
        await methods.do(self._session, channel, method)

    async def _do_connection(self, method: frames.Method) -> bool:
        if isinstance(method, commands.Connection.CloseOk):
            return False
        if isinstance(method, commands.Connection.Close):
            for channel in list(self._session.channels.values()):
                self._session.end_channel(channel)
            await self._given_back()
            self._outbox.send(frames.encode(0, commands.Connection.CloseOk()))
            return False
        if self._closed:
            return True
        if isinstance(method, commands.Connection.UpdateSecret):
            await self._renew(method.new_secret)
            self._outbox.send(frames.encode(0, commands.Connection.UpdateSecretOk()))
            return True
        raise AMQPError(UNEXPECTED_FRAME, "this method has no place on channel 0 now", hard=True)

    async def _given_back(self) -> None:
        """Wait a while until what the client held is in its queues again, as far as Kafka knows."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._feed.settled(), CLOSE_SECONDS)

    async def _refuse(
        self, error: AMQPError, channel_number: int, ids: tuple[int, int] = (0, 0)
    ) -> bool:
        """Close the channel or the connection; False when the connection ends at once."""
        channel = self._session.channels.get(channel_number)
        if not error.hard and channel is not None:
            self._session.close_channel(channel, error, *ids)
            return True
        logger.info("closing the AMQP connection of %s: %s", self._opened.address, error.reply_text)
        if not self._closed:
            self._closed = True
            close = commands.Connection.Close(error.code, error.reply_text, *ids)
            self._outbox.send(frames.encode(0, close))
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._outbox.abort)
        return True

    # The token ------------------------------------------------------------------------------

    async def _renew(self, secret: object) -> None:
        token = secret.decode() if isinstance(secret, bytes) else str(secret)
        principal = await self._shared.authenticator.verify(token)
        if principal.permissions.subject != self._principal.permissions.subject:
            raise AMQPError(CONNECTION_FORCED, "a connection stays with its subject")
        self._take_principal(principal)

    def _take_principal(self, principal: Principal) -> None:
        self._principal = principal
        self._feed.authenticated(principal)
        self._session.questions.token = principal.token
        self._lifetime.start(principal)

    def _expired(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._closing = loop.create_task(self.close(CONNECTION_FORCED, reason))

    # In the background --------------------------------------------------------------------

    async def _beat(self) -> None:
        """Send heartbeats, and disconnect a client that sends nothing."""
        interval = self._opened.handshake.heartbeat
        now = asyncio.get_running_loop().time
        while interval:
            await asyncio.sleep(interval / 2)
            self._outbox.send(frames.HEARTBEAT_FRAME)
            if self._is_reading and now() - self._reading_since > SILENT_BEATS * interval:
                logger.info("no heartbeat of the AMQP client %s: gone", self._opened.address)
                self._outbox.abort()

    async def _keep(self) -> None:
        """Extend leases, and keep queues with a time to live that are in use."""
        while True:
            await asyncio.sleep(EXTEND_SECONDS)
            self._feed.extend(self._session.held())
            await self._session.touch()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Disconnect the client when one of the connection's tasks fails."""
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            logger.error(
                "disconnecting the AMQP client %s: a task failed",
                self._opened.address,
                exc_info=error,
            )
        if error is not None:
            self._outbox.abort()
