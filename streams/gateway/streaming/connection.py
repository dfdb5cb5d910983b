"""One client's WebSocket: reads its frames, does them in order, and replies.

While a client does not read, the worker reads none of its frames.  It holds a bounded amount
for each client: a page of deliveries (`pages`), unsent replies (`writer`), and records on their
way to Kafka (`in_flight`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from streams.errors import BadToken, Forbidden, StreamsError
from streams.folds.jobs import EXTEND
from streams.gateway.auth.principal import ANONYMOUS
from streams.gateway.http import fields as f
from streams.gateway.http.connection import HTTPConnection
from streams.gateway.http.errors import HTTPError, bad_request, busy, to_http_error
from streams.gateway.ports import RecordMetadata
from streams.gateway.streaming import frames
from streams.gateway.streaming.ack_writer import AckFields
from streams.gateway.streaming.frames import Frame, Ref
from streams.gateway.streaming.lifetime import TokenLifetime
from streams.gateway.streaming.subscriber import Subscriber, named
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.streaming.wire import Wire
from streams.gateway.streaming.writer import StreamWriter
from streams.gateway.writes.event_parser import (
    BIND_EVENTS,
    EVENT_TYPES,
    RECEIPT_EVENTS,
    EventParser,
)

if TYPE_CHECKING:
    from streams.gateway.http.context import RequestContext
    from streams.gateway.streaming.service import Streaming

logger = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 10_000
FRAMES_PER_TURN = 50
"""Frames done before the event loop runs other tasks."""
CLOSE_SECONDS = 4.0
"""How long a client may take to answer a close frame."""
_NEVER_REFUSED = ("auth", "unsubscribe", "credit", "ping", "pong")
"""Frames that append nothing; over the rate limit they are slowed down, not refused."""
_WITH_SEQS = ("subscribe", "ack", "nack")
FRAMES_WITHOUT_TOKEN = 100
"""Frames that a client may send without a token, all of which are refused or cost nothing."""
UNAUTHORIZED = 4401
"""Close code when the token has expired or was revoked, or none came."""


class StreamConnection(Subscriber):
    """One client and its subscriptions."""

    def __init__(
        self,
        streaming: Streaming,
        context: RequestContext,
        socket: web.WebSocketResponse,
        *,
        batch: bool,
        forwarded: bool,
    ) -> None:
        to_write = asyncio.Event()
        super().__init__(streaming, to_write, forwarded=forwarded)
        self.heard = time.monotonic()
        """When the client last sent something."""
        self._request = context.request
        self._principal = context.principal
        self._forwarded = forwarded
        self._without_token = 0
        protocol = context.request.protocol
        self._http = protocol if isinstance(protocol, HTTPConnection) else None
        self._parser = context.parser
        self._socket = socket
        self._closing: asyncio.Task[None] | None = None
        self._lifetime = TokenLifetime(self._refuse)
        self._wire = Wire(socket, context.request, batch)
        self._writer = StreamWriter(self._wire, self._pages, to_write)
        self._reply = self._writer.reply
        self._commands: dict[str, Callable[[Frame], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "credit": self._credit,
            "ack": self._ack,
            "publish": self._publish,
            "ping": self._ping,
            "pong": lambda frame: None,
        }

    async def run(self) -> None:
        """Serve the client until it disconnects or is closed.

        Raises:
            HTTPError: 429, the principal has too many streams.
        """
        loop = asyncio.get_running_loop()
        self._streaming.count(self._principal, forwarded=self._forwarded)
        tasks = [loop.create_task(self._writer.run()), loop.create_task(self._placement.run())]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        self._lifetime.start(self._principal)
        try:
            await self._read_all()
        finally:
            # No await here: the server cancels this task when the client disconnects.
            self._lifetime.stop()
            for task in tasks:
                task.cancel()
            self._acks.flush()
            for subscription in list(self.subscriptions.values()):
                self.drop(subscription)
            self._placement.close()
            self._streaming.discount(self._principal, forwarded=self._forwarded)
            # The socket may hold most of a frame: cut the circles that would keep it until
            # the garbage collector comes.
            del self._commands, self._placement, self._lifetime, self._acks

    async def close(self, code: int, reason: str) -> None:
        """Close the WebSocket, which ends `run`; disconnect a client that does not answer."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()

    def check_token(self) -> None:
        """Close the connection if its token has been revoked."""
        self._lifetime.check()

    # Called by the parts that feed this connection --------------------------------------

    async def relay(
        self, subscription: StreamSubscription, seq: int, text: str, again: bool
    ) -> None:
        """Send a delivery that another worker has read, unless it was sent before."""
        competes = subscription.terms is not None
        if subscription.open and (again or competes or seq > subscription.last):
            if competes:
                subscription.held[seq] = None
            subscription.sent(seq)
            self._streaming.sent_relayed.inc()
            await self._wire.send([text.encode()])

    def say(self, kind: str, **fields: object) -> None:
        """Send a frame that answers no frame of the client."""
        self._reply(frames.frame(kind, None, **fields))

    def refused(self, subscription: StreamSubscription, message: str) -> None:
        """End a subscription that its owner refused for a wrong field, and tell the client."""
        self.drop(subscription)
        error = bad_request("bad_field", message)
        self._reply(frames.error_frame(error, subscription.ref, queue=subscription.queue))

    def deleted(self, subscription: StreamSubscription) -> None:
        """End a subscription whose queue was deleted, and tell the client."""
        subscription.taken.clear()
        subscription.held.clear()
        self.drop(subscription)
        self.say("deleted", queue=subscription.queue)

    def give_up(self, subscription: StreamSubscription) -> None:
        """Tell the worker at the other end that this one does not serve the queue."""
        self.drop(subscription)
        self._reply(
            frames.frame(
                "unavailable",
                subscription.ref,
                queue=subscription.queue,
                message="not served here",
                retry_after=1.0,
            )
        )

    # Reading --------------------------------------------------------------------------

    async def _read_all(self) -> None:
        count = 0
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                await self.close(aiohttp.WSCloseCode.UNSUPPORTED_DATA, "frames must be text")
                return
            self.heard = time.monotonic()
            try:
                found = frames.read_all(message.data)
            except StreamsError as error:
                self._reply(frames.error_frame(error))
                await self._pace()
                found = []
            # A client may wait for long: keep nothing of what it sent twice, or once it is done.
            del message
            found.reverse()
            while found:
                count += 1
                if not count % FRAMES_PER_TURN:
                    await asyncio.sleep(0)
                await self._do(found.pop())
                await self._room()
                if self._principal is ANONYMOUS:
                    self._without_token += 1
                    if self._without_token > FRAMES_WITHOUT_TOKEN:
                        await self.close(UNAUTHORIZED, "no token came")
                        return
            if self._http is not None:
                self._http.frame_processed()

    async def _room(self) -> None:
        """Wait until little is held for this client."""
        if not self._in_flight.has_room:
            await self._in_flight.room()
        if not self._writer.has_room:
            await self._writer.room()
        if not self._placement.has_room:
            await self._placement.room()

    async def _do(self, content: Any) -> None:
        try:
            frame = frames.read(content)
        except StreamsError as error:
            self._reply(frames.error_frame(error))
            await self._pace()
            return
        queue = frame.fields.get("queue")
        try:
            await self._pace(_events(frame), refusable=frame.type not in _NEVER_REFUSED)
            if frame.type == "auth":
                await self._authenticate(frame)
            else:
                if frame.type in _WITH_SEQS:
                    await self._check_seqs(frame.fields)
                (self._commands.get(frame.type) or self._event)(frame)
        except StreamsError as error:
            self._log_refusal(error)
            named = {"queue": queue} if isinstance(queue, str) else {}
            self._reply(frames.error_frame(error, frame.ref, **named))

    async def _check_seqs(self, fields: f.Fields) -> None:
        """Refuse seqs that no delivery can have had; fields of a wrong type are refused later.

        Raises:
            HTTPError: 400.
            Unavailable: Kafka does not tell where the log ends.
        """
        queue = fields.get("queue")
        if not isinstance(queue, str):
            return
        subscription = self.subscriptions.get(queue)
        sent = 0 if subscription is None else subscription.last
        for name in ("after", "upto", "seqs"):
            value = fields.get(name)
            highest = max(
                map(_as_integer, value if isinstance(value, list) else (value,)), default=0
            )
            if highest > sent:
                self._principal.permissions.check_queue(queue)
                number = self._streaming.number(queue)
                await self._streaming.seqs.check(number, highest, name, "bad_field")

    async def _pace(self, events: int = 1, *, refusable: bool = False) -> None:
        if self._principal.name:
            await self._streaming.authenticator.pace(
                self._principal, refusable=refusable, events=events
            )

    def _log_refusal(self, error: StreamsError) -> None:
        if isinstance(error, (BadToken, Forbidden)):
            refusal = to_http_error(error)
            self._streaming.authenticator.log_refusal(
                refusal, self._request, "/v1/stream", self._principal
            )

    # The token --------------------------------------------------------------------------

    async def _authenticate(self, frame: Frame) -> None:
        """Take the first token, or a newer one of the same subject."""
        token = frames.auth(frame.fields)
        principal = await self._streaming.authenticator.verify(token)
        subject = principal.permissions.subject
        if self._principal.name and subject != self._principal.permissions.subject:
            raise Forbidden("a stream stays with its subject; open another one")
        if not self._principal.name:
            self._streaming.authenticator.admit(principal)
            self._streaming.count(principal, forwarded=self._forwarded)
        self._principal = principal
        if self._http is not None:
            self._http.authenticated(principal.name)
        self._parser = EventParser(self._streaming.settings, principal.permissions)
        self._lifetime.start(principal)
        self._reply(frames.frame("authenticated", frame.ref))
        for subscription in list(self.subscriptions.values()):
            try:
                principal.permissions.check_queue(subscription.queue)
            except Forbidden as error:
                self.drop(subscription)
                self._reply(frames.error_frame(error, queue=subscription.queue))

    def _refuse(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._closing = loop.create_task(self.close(UNAUTHORIZED, reason))

    # Subscriptions ----------------------------------------------------------------------

    def _subscribe(self, frame: Frame) -> None:
        wish = frames.subscribe(frame.fields)
        self._principal.permissions.check_queue(wish.queue)
        if wish.queue in self.subscriptions:
            raise HTTPError(409, "subscribed", "this connection is subscribed to the queue already")
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise busy(f"a connection may have at most {MAX_SUBSCRIPTIONS} subscriptions")
        number = self._streaming.number(wish.queue)
        subscription = StreamSubscription(
            self,
            wish.queue,
            number,
            wish.after,
            wish.credit,
            frame.ref,
            wish.read_after,
            named(wish.terms),
        )
        self.subscriptions[wish.queue] = subscription
        self._placement.place(subscription)
        if subscription.open:  # not given up at once as another worker's
            text = frames.frame("subscribed", frame.ref, queue=wish.queue, after=wish.after)
            self._reply(text)

    def _unsubscribe(self, frame: Frame) -> None:
        queue = frames.unsubscribe(frame.fields)
        self.drop(self._subscription(queue))
        self._reply(frames.frame("unsubscribed", frame.ref, queue=queue))

    def _credit(self, frame: Frame) -> None:
        queue, more = frames.credit(frame.fields)
        subscription = self._subscription(queue)
        if subscription.credit is None:
            raise bad_request("bad_field", "this subscription has no limit; subscribe with credit")
        self.grant(subscription, more)

    def _ping(self, frame: Frame) -> None:
        f.refuse_rest(frame.fields)
        self._reply(frames.frame("pong", frame.ref))

    def _subscription(self, queue: str) -> StreamSubscription:
        subscription = self.subscriptions.get(queue)
        if subscription is None:
            raise HTTPError(404, "not_subscribed", "this connection is not subscribed to the queue")
        return subscription

    # To Kafka ---------------------------------------------------------------------------

    def _publish(self, frame: Frame) -> None:
        record = self._parser.addressed_message(frame.fields)
        # Until Kafka has confirmed it, only these are kept, not the whole frame.
        message_id, ref = record.message_id, frame.ref

        def confirmed(place: RecordMetadata) -> None:
            self._reply(
                frames.frame("published", ref, id=message_id, partition=place[0], offset=place[1])
            )

        self._in_flight.send(record, confirmed, self._failure(ref, id=message_id))

    def _event(self, frame: Frame) -> None:
        """Take any other event that `POST /v1/events` takes."""
        kind = frame.type
        if kind not in EVENT_TYPES or kind == "message":
            known = dict.fromkeys(["auth", *self._commands, *EVENT_TYPES])
            names = [name for name in known if name not in ("message", "pong")]
            raise bad_request("bad_type", f"type must be one of {', '.join(names)}")
        record = self._parser.line({"type": kind, **frame.fields})
        self._streaming.authenticator.charge_rest(self._principal, record.events, _events(frame))
        if kind == "nack" and frame.fields.get("outcome") != EXTEND:
            subscription = self.subscriptions.get(frame.fields["queue"])
            if subscription is not None:
                subscription.done(None, frame.fields["seqs"])

        ref = frame.ref

        def confirmed(place: RecordMetadata) -> None:
            self._reply(frames.frame("confirmed", ref, partition=place[0], offset=place[1]))

        self._in_flight.send(record, confirmed, self._failure(ref))

    def _ack(self, frame: Frame) -> None:
        queue, upto, seqs = frames.ack(frame.fields)
        self._principal.permissions.check_queue(queue)
        subscription = self.subscriptions.get(queue)
        if subscription is not None and subscription.held:
            subscription.done(upto, seqs)
        self._acks.add(queue, upto, seqs)

    def _write_ack(self, queue: str, content: AckFields) -> None:
        def confirmed(place: RecordMetadata) -> None:
            self._reply(frames.frame("acked", None, queue=queue, **content))

        failed = self._failure(None, queue=queue, **content)
        try:
            record = self._parser.ack(queue, dict(content))
            self._in_flight.send(record, confirmed, failed)
        except StreamsError as error:
            failed(error)

    def _failure(self, ref: Ref, **fields: object) -> Callable[[StreamsError], None]:
        return lambda error: self._reply(frames.error_frame(error, ref, **fields))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """Disconnect the client when one of the connection's tasks fails."""
        if task.cancelled():
            return
        error = task.exception()
        if error is None and self._socket.closed:
            return
        if error is not None and not isinstance(error, (ConnectionError, aiohttp.ClientError)):
            logger.error(
                "disconnecting the stream of %s with %d subscriptions: a task failed",
                self._request.remote,
                len(self.subscriptions),
                exc_info=error,
            )
        if self._request.transport is not None:
            self._request.transport.abort()


def _as_integer(value: Any) -> int:
    return value if type(value) is int else 0


def _events(frame: Frame) -> int:
    """Return how many events a frame is charged as before it is parsed."""
    if frame.type == "publish" and frame.fields.get("receipt") is True:
        return RECEIPT_EVENTS
    return BIND_EVENTS if frame.type in ("bind", "bind_pattern") else 1
