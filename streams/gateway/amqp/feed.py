"""The deliveries of one connection: which queue feeds which of its consumers, and how much.

All consumers that a connection has for one queue share one subscription with leases, from any
worker, as `/v1/stream` has them; messages go to those with room, in turn.  Knows queues, seqs
and records, no frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from streams.errors import StreamsError
from streams.events.limits import MAX_NACK_SEQS
from streams.folds.jobs import EXTEND, RETRY
from streams.gateway.amqp.channel import Consumer
from streams.gateway.amqp.holders import session_name
from streams.gateway.amqp.places import Places
from streams.gateway.auth.principal import Principal
from streams.gateway.ports import RecordMetadata, RecordToSend
from streams.gateway.streaming.ack_writer import AckFields
from streams.gateway.streaming.frames import Terms
from streams.gateway.streaming.subscriber import Subscriber
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.writes.event_parser import EventParser, new_message_id

if TYPE_CHECKING:
    from streams.gateway.streaming.service import Streaming

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 60.0
"""How long a message stays with a client whose worker has died."""
EXTEND_SECONDS: Final = 20.0
"""How often leases are extended while the connection lives."""
AGAIN_SECONDS: Final = 1.0
"""Pause before acks that could not be written are written again."""


class Outlet(Protocol):
    """The part of a connection that the feed uses."""

    def deliver(self, consumer: Consumer, content: dict[str, Any]) -> None:
        """Send a delivery, given its JSON, to a consumer that has room."""
        ...

    def cancelled(self, consumer: Consumer, reason: str) -> None:
        """Tell the client that a consumer has ended."""
        ...

    async def room(self) -> None:
        """Wait until little is unsent."""
        ...


class _Line:
    """The consumers of one queue on this connection, and what they could not take yet."""

    def __init__(self, subscription: StreamSubscription) -> None:
        self.subscription = subscription
        self.consumers: deque[Consumer] = deque()
        self.ready: deque[dict[str, Any]] = deque()


class Feed(Subscriber):
    """The subscriptions of one AMQP connection."""

    def __init__(
        self, streaming: Streaming, principal: Principal, outlet: Outlet, to_write: asyncio.Event
    ) -> None:
        """Take the worker's streams, the client, and what is set when there is more to send."""
        super().__init__(streaming, to_write, forwarded=False)
        self.name = session_name(new_message_id(), streaming.settings.advertised_url)
        """Consumer of the leases, and session of the exclusive queues, of this connection."""
        settings = streaming.settings
        self.places = Places(settings.queue_events, settings.partitions)
        """Where what the client sent is in the logs."""
        self._outlet = outlet
        self._lines: dict[str, _Line] = {}
        self._open = True
        self._unwritten = 0
        """Acks that Kafka did not confirm, and that are soon written again."""
        self.authenticated(principal)

    def authenticated(self, principal: Principal) -> None:
        """Take the client, or its newer token."""
        self._principal = principal
        self._parser = EventParser(self._streaming.settings, principal.permissions)

    async def run(self) -> None:
        """Place subscriptions at workers, for as long as the connection lives."""
        await self._placement.run()

    def close(self) -> None:
        """End all subscriptions; what was not sent becomes available to others."""
        self._open = False
        for line in list(self._lines.values()):
            self._end(line)
        self._acks.flush()
        self._placement.close()

    def append(
        self,
        record: RecordToSend,
        confirmed: Callable[[RecordMetadata], None],
        failed: Callable[[StreamsError], None],
    ) -> None:
        """Append a record after those before it; raises as `InFlightWindow.send`."""

        def noted(place: RecordMetadata) -> None:
            self.places.confirmed(record, place)
            confirmed(place)

        self._in_flight.send(record, noted, failed)

    async def room(self) -> None:
        """Wait until not too many records are on their way to Kafka."""
        await self._in_flight.room()

    @property
    def parser(self) -> EventParser:
        """Makes the events of the client."""
        return self._parser

    # Consumers -----------------------------------------------------------------------------

    def consume(self, consumer: Consumer) -> None:
        """Feed a consumer from now on.

        Raises:
            Forbidden: the queue is not the client's own.
        """
        queue = consumer.queue
        self._principal.permissions.check_queue(queue)
        line = self._lines.get(queue)
        if line is None:
            terms = Terms(self.name, int(LEASE_SECONDS * 1000))
            number = self._streaming.number(queue)
            subscription = StreamSubscription(self, queue, number, 0, 0, None, -1, terms)
            line = self._lines[queue] = _Line(subscription)
            line.consumers.append(consumer)
            self.subscriptions[queue] = subscription
            subscription.credit = self._wanted(line)
            self._placement.place(subscription)
        else:
            line.consumers.append(consumer)
            self.refill(queue)

    def cancel(self, consumer: Consumer) -> None:
        """Feed a consumer no more; it keeps what it has not acknowledged."""
        line = self._lines.get(consumer.queue)
        if line is not None and consumer in line.consumers:
            line.consumers.remove(consumer)
            if not line.consumers:
                self._end(line)

    def refill(self, queue: str) -> None:
        """Send what waits for room, and ask for as much as the consumers may still get."""
        line = self._lines.get(queue)
        if line is None:
            return
        self._pump(line)
        credit = line.subscription.credit or 0
        wanted = self._wanted(line)
        more = wanted - credit
        if more > 0 and (not credit or more >= wanted // 4):
            self.grant(line.subscription, more)

    def _wanted(self, line: _Line) -> int:
        return max(0, sum(one.room for one in line.consumers) - len(line.ready))

    def _pump(self, line: _Line) -> None:
        consumers = line.consumers
        while line.ready:
            for _ in range(len(consumers)):
                consumer = consumers[0]
                consumers.rotate(-1)
                if consumer.room:
                    break
            else:
                return
            self._outlet.deliver(consumer, line.ready.popleft())

    def _end(self, line: _Line) -> None:
        queue = line.subscription.queue
        del self._lines[queue]
        left = [content["seq"] for content in line.ready]
        line.ready.clear()
        line.subscription.held.clear()  # the channels know what the client holds
        self.drop(line.subscription)
        self.nack(queue, left, RETRY)

    # Deliveries ------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        """Tell whether there may be more to send."""
        return bool(self._pages)

    def fill(self) -> None:
        """Send the next page of deliveries of this worker's partitions."""
        texts: list[bytes] = []
        self._pages.fill(texts)
        for text in texts:
            self._received(orjson.loads(text))

    async def relay(
        self, subscription: StreamSubscription, seq: int, text: str, again: bool
    ) -> None:
        """Send a delivery that another worker has read."""
        if subscription.open:
            subscription.sent(seq)
            self._streaming.sent_relayed.inc()
            self._received(orjson.loads(text))
            await self._outlet.room()

    def _received(self, content: dict[str, Any]) -> None:
        line = self._lines.get(content["queue"])
        if line is not None:
            line.subscription.held.clear()
            line.ready.append(content)
            self.refill(content["queue"])

    # Acknowledgements --------------------------------------------------------------------

    def ack(self, queue: str, seqs: Sequence[int]) -> None:
        """Acknowledge deliveries, soon and many at a time."""
        if seqs:
            self._acks.add(queue, None, seqs)

    def nack(self, queue: str, seqs: Sequence[int], outcome: str) -> None:
        """Return deliveries, reject them, or extend their leases."""
        if seqs and outcome != EXTEND:
            self._acks.flush()  # first: acked deliveries are not given back
        for start in range(0, len(seqs), MAX_NACK_SEQS):
            some = list(seqs[start : start + MAX_NACK_SEQS])
            content: dict[str, Any] = {"seqs": some, "outcome": outcome, "consumer": self.name}
            if outcome == EXTEND:
                content["delay_seconds"] = LEASE_SECONDS
            try:
                self._send(self._parser.nack(queue, content))
            except StreamsError as error:  # their leases expire later
                logger.debug("cannot %s %d deliveries of %s: %s", outcome, len(some), queue, error)

    def extend(self, held: Mapping[str, Iterable[int]]) -> None:
        """Extend the leases of what the client holds, and of what waits for room."""
        queues = {queue: list(seqs) for queue, seqs in held.items()}
        for queue, line in self._lines.items():
            queues.setdefault(queue, []).extend(content["seq"] for content in line.ready)
        for queue, seqs in queues.items():
            self.nack(queue, seqs, EXTEND)

    def _write_ack(self, queue: str, fields: AckFields) -> None:
        seqs = fields["seqs"]
        assert isinstance(seqs, list)

        def failed(error: StreamsError) -> None:
            logger.debug("cannot ack %d deliveries of %s: %s", len(seqs), queue, error)
            if self._open:  # until their leases expire: then they are sent again
                self._unwritten += 1
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, again)

        def again() -> None:
            self._unwritten -= 1
            self.ack(queue, seqs)

        try:
            self._send(self._parser.ack(queue, dict(fields)), failed)
        except StreamsError as error:
            failed(error)

    async def settled(self) -> None:
        """Wait until Kafka has all that the client has sent; messages and nacks may have failed."""
        while True:
            self._acks.flush()
            await self._in_flight.empty()
            if not self._unwritten:
                return
            await asyncio.sleep(AGAIN_SECONDS)

    def _send(
        self, record: RecordToSend, failed: Callable[[StreamsError], None] | None = None
    ) -> None:
        """Append an ack or a nack; call `failed` if Kafka does not confirm it."""

        def ended(error: StreamsError) -> None:
            if failed is not None:
                failed(error)

        self.owe(record.events)
        self.append(record, lambda place: None, ended)

    # What the streams of this worker tell -------------------------------------------------

    def say(self, kind: str, **fields: object) -> None:
        """Do nothing: a client need not know which worker serves its queues, or when."""

    def refused(self, subscription: StreamSubscription, message: str) -> None:
        """Cancel the consumers of a queue whose owner refused them."""
        self._cancel_all(subscription, message)

    def deleted(self, subscription: StreamSubscription) -> None:
        """Cancel the consumers of a queue that was deleted."""
        subscription.taken.clear()
        line = self._lines.get(subscription.queue)
        if line is not None:
            line.ready.clear()
        self._cancel_all(subscription, "the queue was deleted")

    def give_up(self, subscription: StreamSubscription) -> None:
        """Cancel the consumers of a subscription that cannot be served; it is never another's."""
        self._cancel_all(subscription, "not served here")

    def _cancel_all(self, subscription: StreamSubscription, reason: str) -> None:
        line = self._lines.get(subscription.queue)
        if line is None or line.subscription is not subscription:
            return
        consumers = list(line.consumers)
        self._end(line)
        for consumer in consumers:
            self._outlet.cancelled(consumer, reason)
