"""One client's WebSocket: what it says is done in order, what it is sent goes through one hand.

A client that does not read is not read from either, and rows are read only as fast as it
takes them: what is held for it is a page, the socket's buffer and the answers it is owed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from streams.errors import BadToken, Forbidden, StreamsError
from streams.folds.jobs import EXTEND, MAX_NACKED
from streams.gateway.auth.principal import ANONYMOUS, REVOKED
from streams.gateway.http import fields as f
from streams.gateway.http.errors import HTTPError, bad_request, busy, to_http_error
from streams.gateway.ports import Partition, RecordMetadata, RecordToSend
from streams.gateway.reads.deliveries import page, some
from streams.gateway.streaming import frames
from streams.gateway.streaming.acks import AckBatch
from streams.gateway.streaming.frames import Frame, Ref, Terms
from streams.gateway.streaming.outbox import Outbox
from streams.gateway.streaming.placing import Placing
from streams.gateway.streaming.subscription import Subscription
from streams.gateway.streaming.wire import Wire
from streams.gateway.writes.event_parser import EVENT_TYPES, EventParser, new_message_id

if TYPE_CHECKING:
    from streams.gateway.http.context import RequestContext
    from streams.gateway.streaming.service import Streaming

logger = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 10_000
PAGE_MESSAGES = 64
PAGE_BYTES = 64 * 1024
MAX_REPLIES = 1000
"""Answers that may wait to be sent before the client is not read from."""
FRAMES_PER_TURN = 50
"""Frames done before the event loop gets a turn."""
ACK_SECONDS = 0.02
"""How long acks are gathered before they are written."""
ACKS_AT_ONCE = 5000
CLOSE_SECONDS = 4.0
TOKEN_SECONDS = 10.0
"""How long a client may be connected before it shows a token."""
UNAUTHORIZED = 4401
"""Code with which a connection is closed whose token has expired, or never came."""


class Connection:
    """One client, and the queues that it is subscribed to."""

    def __init__(
        self,
        streaming: Streaming,
        context: RequestContext,
        socket: web.WebSocketResponse,
        *,
        batch: bool,
        forwarded: bool,
    ) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        self.heard = time.monotonic()
        """When the client last said something."""
        self._streaming = streaming
        self._request = context.request
        self._parts = context.parts
        self._principal = context.principal
        self._parser = context.parser
        self._good_until: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._socket = socket
        self._wire = Wire(socket, context.request, batch)
        self._forwarded = forwarded
        self._placing = Placing(streaming, self, forwarded)
        self._outbox = Outbox(context.parts.publishing, context.parts.admission)
        self._acks = AckBatch()
        self._ack_timer: asyncio.TimerHandle | None = None
        self._marked: deque[Subscription] = deque()
        self._replies: list[bytes] = []
        self._to_write = asyncio.Event()
        self._read_on = asyncio.Event()
        self._read_on.set()
        self._does: dict[str, Callable[[Frame], None]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "credit": self._credit,
            "ack": self._ack,
            "publish": self._publish,
            "ping": self._ping,
            "pong": lambda frame: None,
        }

    async def run(self) -> None:
        """Serve the client until it goes, or is closed."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._write_all()), loop.create_task(self._placing.run())]
        for task in tasks:
            task.add_done_callback(self._ended)
        self._watch_the_time()
        try:
            await self._read_all()
        finally:
            # Without an await: the server cancels who serves a client that is gone.
            if self._good_until is not None:
                self._good_until.cancel()
            for task in tasks:
                task.cancel()
            if self._ack_timer is not None:
                self._write_acks()
            for subscription in list(self.subscriptions.values()):
                self._drop(subscription)
            self._placing.close()

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye; `run` ends then. To a client that does not listen, not for long."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()

    # Called by the parts that feed this connection --------------------------------------

    def mark(self, subscription: Subscription) -> None:
        """Look for what a subscription is to be sent, in its turn."""
        if subscription.terms is not None:
            self._streaming.leasing.look(subscription)
        if subscription.terms is None or subscription.taken:
            self._stand(subscription)

    def _stand(self, subscription: Subscription) -> None:
        if not subscription.marked:
            subscription.marked = True
            self._marked.append(subscription)
            self._to_write.set()

    def lost(self, subscription: Subscription) -> None:
        """Note that its partition does not answer any more."""
        self._placing.lost(subscription)

    def reassigned(self) -> None:
        """Note that partitions have other owners."""
        self._placing.reassigned()

    async def relay(self, subscription: Subscription, seq: int, text: str, again: bool) -> None:
        """Send a delivery that another worker has read, unless it was sent before."""
        competes = subscription.terms is not None
        if subscription.open and (again or competes or seq > subscription.last):
            if competes:
                subscription.held[seq] = None
            subscription.sent(seq)
            self._streaming.sent_relayed.inc()
            await self._wire.send([text.encode()])

    def lease(self, subscription: Subscription, limit: int) -> RecordToSend:
        """Make the Lease that gets messages for a competing consumer."""
        terms = subscription.terms
        assert terms is not None
        content: f.Fields = {"limit": limit, "consumer": terms.consumer}
        if terms.visibility_ms is not None:
            content["visibility_seconds"] = terms.visibility_ms / 1000
        return self._parser.lease(subscription.queue, content)

    def leased(self, subscription: Subscription, seqs: list[int]) -> None:
        """Send what a Lease got."""
        subscription.taken.extend(seqs)
        self._stand(subscription)

    def give_back(self, subscription: Subscription, seqs: list[int]) -> None:
        """Let others have at once what the client will not be done with."""
        terms = subscription.terms
        assert terms is not None
        for start in range(0, len(seqs), MAX_NACKED):
            some = seqs[start : start + MAX_NACKED]
            content = {"seqs": some, "consumer": terms.consumer}
            try:
                record = self._parser.nack(subscription.queue, content)
                self._outbox.send(record, lambda place: None, lambda error: None)
            except StreamsError as error:  # they come back by themselves, later
                logger.debug("leases of a stream are not given back: %s", error)

    def say(self, kind: str, **fields: object) -> None:
        """Send a frame that nobody asked for."""
        self._reply(frames.frame(kind, None, **fields))

    def give_up(self, subscription: Subscription) -> None:
        """Tell the worker that asked that this one does not serve the queue."""
        self._drop(subscription)
        self._reply(
            frames.frame(
                "unavailable",
                subscription.ref,
                queue=subscription.queue,
                message="not served here",
                retry_after=1.0,
            )
        )

    async def connect(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """Open a stream to another worker on behalf of the client."""
        return await self._streaming.connect(self._principal.token, url)

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
                found = []
            for content in found:
                count += 1
                if not count % FRAMES_PER_TURN:
                    await asyncio.sleep(0)
                await self._do(content)
                if self._principal.name:
                    await self._parts.guard.paced(self._principal)
                await self._ready_for_more()

    async def _ready_for_more(self) -> None:
        """Wait until little enough is in hand for this client."""
        if not self._outbox.has_room:
            await self._outbox.room()
        if not self._read_on.is_set():
            await self._read_on.wait()
        if not self._placing.has_room:
            await self._placing.room()

    async def _do(self, content: Any) -> None:
        try:
            frame = frames.read(content)
        except StreamsError as error:
            self._reply(frames.error_frame(error))
            return
        queue = frame.fields.get("queue")
        try:
            if frame.type == "auth":
                await self._authenticate(frame)
            else:
                (self._does.get(frame.type) or self._event)(frame)
        except StreamsError as error:
            self._note(error)
            named = {"queue": queue} if isinstance(queue, str) else {}
            self._reply(frames.error_frame(error, frame.ref, **named))

    async def _authenticate(self, frame: Frame) -> None:
        """Take a token: the first, or a fresh one of the same subject before the old one ends."""
        token = frames.auth(frame.fields)
        principal = await self._parts.guard.check(token)
        if (
            self._principal.name
            and principal.permissions.subject != self._principal.permissions.subject
        ):
            raise Forbidden("a stream stays with its subject; open another one")
        self._principal = principal
        self._parser = EventParser(self._parts.settings, principal.permissions)
        self._watch_the_time()
        self._reply(frames.frame("authenticated", frame.ref))
        for subscription in list(self.subscriptions.values()):
            try:
                principal.permissions.check_queue(subscription.queue)
            except Forbidden as error:
                self._drop(subscription)
                self._reply(frames.error_frame(error, queue=subscription.queue))

    def _watch_the_time(self) -> None:
        """End the connection with its token; without one, soon."""
        if self._good_until is not None:
            self._good_until.cancel()
            self._good_until = None
        left = self._principal.seconds_left
        if self._principal is ANONYMOUS:
            left = TOKEN_SECONDS
        if left != math.inf:
            loop = asyncio.get_running_loop()
            # A timer of years may be more than the loop takes: look again in an hour.
            self._good_until = loop.call_later(min(left, 3600.0), self._time_is_up)

    def _time_is_up(self) -> None:
        if self._principal is not ANONYMOUS and self._principal.seconds_left > 0:
            self._watch_the_time()
            return
        reason = "no token came" if self._principal is ANONYMOUS else "the token has expired"
        self._refuse(REVOKED if self._principal.is_revoked else reason)

    def check_token(self) -> None:
        """End the connection if its token has been taken back."""
        if self._principal.is_revoked:
            self._refuse(REVOKED)

    def _refuse(self, reason: str) -> None:
        loop = asyncio.get_running_loop()
        self._closing = loop.create_task(self.close(UNAUTHORIZED, reason))

    def _note(self, error: StreamsError) -> None:
        if isinstance(error, (BadToken, Forbidden)):
            refusal = to_http_error(error)
            self._parts.guard.note(refusal, self._request, "/v1/stream", self._principal)

    def _subscribe(self, frame: Frame) -> None:
        wish = frames.subscribe(frame.fields)
        self._principal.permissions.check_queue(wish.queue)
        if wish.queue in self.subscriptions:
            raise HTTPError(409, "subscribed", "this connection is subscribed to the queue already")
        if len(self.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise busy(f"{MAX_SUBSCRIPTIONS} subscriptions are the most of one connection")
        subscription = Subscription(
            self,
            wish.queue,
            self._streaming.number(wish.queue),
            wish.after,
            wish.credit,
            frame.ref,
            wish.read_after,
            _named(wish.terms),
        )
        self.subscriptions[wish.queue] = subscription
        self._placing.place(subscription)
        if subscription.open:  # and not given up: it is another worker's, which serves itself
            text = frames.frame("subscribed", frame.ref, queue=wish.queue, after=wish.after)
            self._reply(text)

    def _unsubscribe(self, frame: Frame) -> None:
        queue = frames.unsubscribe(frame.fields)
        self._drop(self._subscription(queue))
        self._reply(frames.frame("unsubscribed", frame.ref, queue=queue))

    def _credit(self, frame: Frame) -> None:
        queue, more = frames.credit(frame.fields)
        subscription = self._subscription(queue)
        if subscription.credit is None:
            raise bad_request("bad_field", "this subscription has no limit; subscribe with credit")
        subscription.credit = min(subscription.credit + more, frames.MAX_CREDIT)
        if subscription.terms is not None and subscription.local is not None:
            if subscription.taken:
                self._stand(subscription)
            else:
                self._streaming.leasing.again(subscription)
        else:
            self._placing.give_credit(subscription, more)

    def _ping(self, frame: Frame) -> None:
        f.refuse_rest(frame.fields)
        self._reply(frames.frame("pong", frame.ref))

    def _subscription(self, queue: str) -> Subscription:
        subscription = self.subscriptions.get(queue)
        if subscription is None:
            raise HTTPError(404, "not_subscribed", "this connection is not subscribed to the queue")
        return subscription

    def _drop(self, subscription: Subscription) -> None:
        subscription.open = False
        del self.subscriptions[subscription.queue]
        had = [*subscription.taken, *subscription.held]
        self._placing.remove(subscription)
        if subscription.terms is not None:
            self._streaming.leasing.left(subscription)
            if had:
                self._write_acks()  # what is acked already is not given back
                self.give_back(subscription, had)

    # To Kafka ---------------------------------------------------------------------------

    def _publish(self, frame: Frame) -> None:
        record = self._parser.addressed_message(frame.fields)
        message_id = record.message_id

        def confirmed(place: RecordMetadata) -> None:
            self._reply(
                frames.frame(
                    "published", frame.ref, id=message_id, partition=place[0], offset=place[1]
                )
            )

        self._outbox.send(record, confirmed, self._failure(frame.ref, id=message_id))

    def _event(self, frame: Frame) -> None:
        """Take any other event that `POST /v1/events` takes."""
        kind = frame.type
        if kind not in EVENT_TYPES or kind == "message":
            known = ["auth", *self._does, *(name for name in EVENT_TYPES if name not in self._does)]
            known = [name for name in known if name not in ("message", "pong")]
            raise bad_request("bad_type", f"type must be one of {', '.join(known)}")
        record = self._parser.line({"type": kind, **frame.fields})
        if kind == "nack" and frame.fields.get("outcome") != EXTEND:
            subscription = self.subscriptions.get(frame.fields["queue"])
            if subscription is not None:
                subscription.done(None, frame.fields["seqs"])

        def confirmed(place: RecordMetadata) -> None:
            self._reply(frames.frame("confirmed", frame.ref, partition=place[0], offset=place[1]))

        self._outbox.send(record, confirmed, self._failure(frame.ref))

    def _ack(self, frame: Frame) -> None:
        queue, upto, seqs = frames.ack(frame.fields)
        self._principal.permissions.check_queue(queue)
        subscription = self.subscriptions.get(queue)
        if subscription is not None and subscription.held:
            subscription.done(upto, seqs)
        self._acks.add(queue, upto, seqs)
        if self._acks.size >= ACKS_AT_ONCE:
            self._write_acks()
        elif self._ack_timer is None:
            loop = asyncio.get_running_loop()
            self._ack_timer = loop.call_later(ACK_SECONDS, self._write_acks)

    def _write_acks(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        for queue, content in self._acks.take():
            self._write_ack(queue, content)

    def _write_ack(self, queue: str, content: dict[str, int | list[int]]) -> None:
        def confirmed(place: RecordMetadata) -> None:
            self._reply(frames.frame("acked", None, queue=queue, **content))

        failed = self._failure(None, queue=queue, **content)
        try:
            record = self._parser.ack(queue, dict(content))
            self._outbox.send(record, confirmed, failed)
        except StreamsError as error:
            failed(error)

    def _failure(self, ref: Ref, **fields: object) -> Callable[[StreamsError], None]:
        return lambda error: self._reply(frames.error_frame(error, ref, **fields))

    # Writing ----------------------------------------------------------------------------

    def _reply(self, text: bytes) -> None:
        self._replies.append(text)
        self._to_write.set()
        if len(self._replies) >= MAX_REPLIES:
            self._read_on.clear()

    async def _write_all(self) -> None:
        while True:
            await self._to_write.wait()
            self._to_write.clear()
            while self._replies or self._marked:
                if self._socket.closed:
                    return  # the last word is said
                texts, self._replies = self._replies, []
                size = 0
                while self._marked and size < PAGE_BYTES:
                    size += self._add_page(texts, self._marked.popleft())
                if texts:
                    await self._wire.send(texts)
                if len(self._replies) < MAX_REPLIES:
                    self._read_on.set()
                # A turn for the others: a client that reads fast is never waited for.
                await asyncio.sleep(0)

    def _add_page(self, texts: list[bytes], subscription: Subscription) -> int:
        """Add the next messages of a subscription; if there may be more, it stands in line.

        Returns how many bytes they have, about.
        """
        subscription.marked = False
        partition, credit = subscription.local, subscription.credit
        if partition is None or credit == 0 or not subscription.open:
            return 0
        if not self._streaming.answers(partition):
            self._placing.lost(subscription)
            return 0
        if subscription.terms is not None:
            return self._add_leased(texts, subscription, partition)
        size = self._add_again(texts, subscription, partition) if subscription.again else 0
        credit = subscription.credit
        if credit == 0:
            return size
        if size > PAGE_BYTES:
            self.mark(subscription)  # what is new comes with the next page
            return size
        limit = PAGE_MESSAGES if credit is None else min(credit, PAGE_MESSAGES)
        found, more = page(partition.rows, subscription.queue, subscription.last, limit, PAGE_BYTES)
        if not found:
            return size
        if more:
            self.mark(subscription)
        subscription.sent(found[-1].seq, len(found))
        self._streaming.sent_read.inc(len(found))
        prefix = subscription.prefix
        for one in found:
            texts.append(b"%b%b}" % (prefix, one.members))
            size += len(one.members)
        return size

    def _add_again(
        self, texts: list[bytes], subscription: Subscription, partition: Partition
    ) -> int:
        """Add what was sent before and has come back since, under the seq that it had."""
        size = 0
        again = subscription.again
        while again and subscription.credit != 0 and size <= PAGE_BYTES:
            seq = next(iter(again))
            del again[seq]
            for one in some(partition.rows, subscription.queue, [seq]):
                subscription.sent(seq)
                self._streaming.sent_read.inc()
                texts.append(b'%b%b,"redelivered":true}' % (subscription.prefix, one.members))
                size += len(one.members)
        if again and subscription.credit != 0:
            self.mark(subscription)
        return size

    def _add_leased(
        self, texts: list[bytes], subscription: Subscription, partition: Partition
    ) -> int:
        """Add what a Lease got for a competing consumer; then it may have more."""
        size = 0
        taken = subscription.taken
        while taken and subscription.credit and size <= PAGE_BYTES:
            seq = taken.popleft()
            for one in some(partition.rows, subscription.queue, [seq]):
                subscription.sent(seq)
                if not self._forwarded:
                    subscription.held[seq] = None
                self._streaming.sent_read.inc()
                texts.append(b"%b%b}" % (subscription.prefix, one.members))
                size += len(one.members)
        if taken:
            self._stand(subscription)
        else:
            self._streaming.leasing.again(subscription)
        return size

    def _ended(self, task: asyncio.Task[None]) -> None:
        """End the connection with a task of it that has failed."""
        if task.cancelled():
            return
        error = task.exception()
        if error is None and self._socket.closed:
            return
        if error is not None and not isinstance(error, (ConnectionError, aiohttp.ClientError)):
            logger.error("a stream failed", exc_info=error)
        if self._request.transport is not None:
            self._request.transport.abort()


def _named(terms: Terms | None) -> Terms | None:
    """Return the terms of a consumer that has a name, so that what is its own can be told."""
    if terms is None or terms.consumer:
        return terms
    return replace(terms, consumer=f"stream-{new_message_id()}")
