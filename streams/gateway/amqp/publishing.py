"""basic.publish: makes a message of what came, sends it, and confirms it once Kafka has it."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any, Final

from pamqp import commands

from streams.errors import StreamsError
from streams.events.limits import DEFAULT_MESSAGE_PRIORITY, MAX_MESSAGE_PRIORITY
from streams.folds.patterns import ROUTING_KEY
from streams.gateway.amqp import frames, names, properties
from streams.gateway.amqp.channel import Channel, Incoming
from streams.gateway.amqp.errors import (
    INTERNAL_ERROR,
    NO_ROUTE,
    PRECONDITION_FAILED,
    AMQPError,
    not_implemented,
    to_amqp_error,
)
from streams.gateway.amqp.properties import Envelope, Properties
from streams.gateway.amqp.session import Session
from streams.gateway.ports import RecordMetadata, RecordToSend

KNOWN_SECONDS: Final = 1.0
"""How long a destination of mandatory messages counts as bound once it was seen so."""
MOST_KNOWN: Final = 10_000
MAX_EXPIRATION_MS: Final = 315_360_000_000
_PROJECTED: Final = ("content_type", "correlation_id", "reply_to", "message_id", "type")
"""Properties that consumers of other doors see as headers."""
MOST_PROJECTED_BYTES: Final = 1024


class Publisher:
    """Publishes the messages of one connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def publish(self, channel: Channel, incoming: Incoming) -> None:
        """Send a message after those before it.

        Raises:
            StreamsError: it is refused; the channel or the connection is to be closed.
        """
        session, publish = self._session, incoming.publish
        if publish.immediate:
            raise not_implemented("immediate messages")
        kind = await session.exchanges.type_of(publish.exchange, session.questions)
        read = properties.read(incoming.properties)
        group = names.group(publish.exchange, kind, publish.routing_key)
        key = publish.routing_key if kind == names.TOPIC_TYPE else None
        content = self._content(incoming, read, key)
        record = session.feed.parser.message(group, content)
        await session.pace(record.events)
        if publish.mandatory and not await self._is_bound(incoming, group, key):
            if publish.exchange == names.DEFAULT:  # sending would make the queue
                self._return(channel, incoming)
                self._confirm(channel, self._tag(channel), ok=True)
            else:
                await self._publish_unbound(channel, incoming, record, key)
            return
        tag = self._tag(channel)

        def confirmed(place: RecordMetadata) -> None:
            self._confirm(channel, tag, ok=True)

        def failed(error: StreamsError) -> None:
            self._failed(channel, tag, error)

        try:
            await session.append(record, confirmed, failed)
        except StreamsError as error:
            if to_amqp_error(error).code != INTERNAL_ERROR:
                raise
            failed(error)

    async def _publish_unbound(
        self, channel: Channel, incoming: Incoming, record: RecordToSend, key: str | None
    ) -> None:
        """Send a message to a group without bindings, as far as is known; return it if it has none.

        Another worker may have made a binding that this one has not seen: who is bound when the
        message has its place in the log tells.
        """
        session, tag = self._session, self._tag(channel)
        try:
            _, offset = await session.append_confirmed(record)
            group = record.key.decode()
            bound = await session.questions.has_members(group, offset, routing_key=key)
        except StreamsError as error:
            if to_amqp_error(error).code != INTERNAL_ERROR:
                raise
            self._failed(channel, tag, error)
            return
        if not bound:
            self._return(channel, incoming)
        self._confirm(channel, tag, ok=True)

    def _failed(self, channel: Channel, tag: int | None, error: StreamsError) -> None:
        if tag is None:  # it would be lost in silence
            text = f"a message was not sent: {error}"
            self._session.fail(channel, AMQPError(INTERNAL_ERROR, text))
        else:
            self._confirm(channel, tag, ok=False)

    def _content(
        self, incoming: Incoming, read: Properties, routing_key: str | None
    ) -> dict[str, Any]:
        """Return the fields of the message, by their names over HTTP.

        `routing_key` is what the patterns of bindings are compared with; None without any.
        """
        publish, texts = incoming.publish, read.texts
        user = texts.get("user_id")
        if user is not None and user != self._session.user:
            raise AMQPError(PRECONDITION_FAILED, "user_id must be the name that logged in")
        headers = {
            properties.HEADER: properties.pack(
                Envelope(publish.exchange, publish.routing_key, incoming.properties)
            )
        }
        projected = {name.replace("_", "-"): texts[name] for name in _PROJECTED if texts.get(name)}
        if sum(len(text) for text in projected.values()) <= MOST_PROJECTED_BYTES:
            headers |= projected
        if routing_key is not None:
            headers[ROUTING_KEY] = routing_key
        content: dict[str, Any] = {
            "body_base64": base64.b64encode(incoming.body).decode(),
            "headers": headers,
            "priority": DEFAULT_MESSAGE_PRIORITY
            if read.priority is None
            else min(read.priority, MAX_MESSAGE_PRIORITY),
        }
        if "expiration" in texts:
            content["expires_at"] = time.time_ns() // 1_000_000 + _milliseconds(texts["expiration"])
        return content

    async def _is_bound(self, incoming: Incoming, group: str, key: str | None) -> bool:
        """Tell whether a message reaches a queue; `key` is the routing key of a topic exchange."""
        now, publish = time.monotonic(), incoming.publish
        known = self._session.bound
        destination = (group, key)
        if known.get(destination, 0.0) > now:
            return True
        questions = self._session.questions
        if publish.exchange == names.DEFAULT:
            bound = (await questions.queue(publish.routing_key)).exists
        else:
            bound = await questions.has_members(group, routing_key=key)
        if bound:
            if len(known) >= MOST_KNOWN:
                known.clear()
            known[destination] = now + KNOWN_SECONDS
        return bound

    def _return(self, channel: Channel, incoming: Incoming) -> None:
        publish, number = incoming.publish, channel.number
        self._session.send(
            frames.returned(number, NO_ROUTE, "NO_ROUTE", publish.exchange, publish.routing_key)
            + frames.content(number, incoming.properties, incoming.body, self._session.frame_max)
        )

    # Confirms ----------------------------------------------------------------------------

    @staticmethod
    def _tag(channel: Channel) -> int | None:
        return None if channel.confirms is None else channel.confirms.published()

    def _confirm(self, channel: Channel, tag: int | None, *, ok: bool) -> None:
        if tag is not None and channel.confirms is not None and channel.confirms.settle(tag, ok):
            # All that one turn of the event loop settles goes in as few frames as possible.
            asyncio.get_running_loop().call_soon(self._send_confirms, channel)

    def _send_confirms(self, channel: Channel) -> None:
        assert channel.confirms is not None
        if channel.closing or self._session.channels.get(channel.number) is not channel:
            return
        for one in channel.confirms.take():
            method = (
                commands.Basic.Ack(one.tag, one.multiple)
                if one.ok
                else commands.Basic.Nack(one.tag, one.multiple, False)
            )
            self._session.reply(channel, method)


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 13):
        raise AMQPError(PRECONDITION_FAILED, f"expiration must be milliseconds, not {text!r}")
    return min(int(text), MAX_EXPIRATION_MS)
