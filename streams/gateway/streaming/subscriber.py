"""What any connection with subscriptions does for them, whatever its protocol.

The base of `StreamConnection`, and of the consumers of other protocols.  Knows subscriptions,
leases and records, nothing of sockets and frames.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp

from streams.errors import StreamsError
from streams.events.limits import MAX_NACK_SEQS
from streams.gateway.auth.principal import Principal
from streams.gateway.http import fields as f
from streams.gateway.ports import RecordToSend
from streams.gateway.streaming.ack_writer import AckFields, AckWriter
from streams.gateway.streaming.frames import MAX_CREDIT, Terms
from streams.gateway.streaming.in_flight import InFlightWindow
from streams.gateway.streaming.pages import Pages
from streams.gateway.streaming.placement import Placement
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.writes.event_parser import EventParser, new_message_id

if TYPE_CHECKING:
    from streams.gateway.streaming.service import Streaming

logger = logging.getLogger(__name__)


class Subscriber(ABC):
    """One client's subscriptions; a subclass says what the client is told."""

    _principal: Principal
    _parser: EventParser

    def __init__(self, streaming: Streaming, to_write: asyncio.Event, *, forwarded: bool) -> None:
        """Take the worker's streams, and what is set when there is more to send.

        With `forwarded`, another worker asks on behalf of its client.
        """
        self.subscriptions: dict[str, StreamSubscription] = {}
        self._streaming = streaming
        self._placement = Placement(streaming, self, forwarded)
        self._in_flight = InFlightWindow(streaming.publishing, streaming.admission)
        self._acks = AckWriter(self._write_ack)
        self._pages = Pages(
            streaming.leasing,
            streaming.answers,
            self._placement.lost,
            streaming.sent_read.inc,
            to_write,
            forwarded=forwarded,
        )

    @abstractmethod
    def _write_ack(self, queue: str, fields: AckFields) -> None:
        """Append one Ack."""

    # What the client is told -------------------------------------------------------------

    @abstractmethod
    async def relay(
        self, subscription: StreamSubscription, seq: int, text: str, again: bool
    ) -> None:
        """Send a delivery that another worker has read, unless it was sent before."""

    @abstractmethod
    def say(self, kind: str, **fields: object) -> None:
        """Tell the client what it did not ask for."""

    @abstractmethod
    def refused(self, subscription: StreamSubscription, message: str) -> None:
        """End a subscription that its owner refused, and tell the client."""

    @abstractmethod
    def deleted(self, subscription: StreamSubscription) -> None:
        """End a subscription whose queue was deleted, and tell the client."""

    @abstractmethod
    def give_up(self, subscription: StreamSubscription) -> None:
        """End a subscription of another worker that cannot be served here."""

    # For the parts that feed the subscriptions --------------------------------------------

    def mark(self, subscription: StreamSubscription) -> None:
        """Look for new deliveries of a subscription, in its turn."""
        self._pages.mark(subscription)

    def lost(self, subscription: StreamSubscription) -> None:
        """Note that this worker does not serve its partition any more."""
        self._placement.lost(subscription)

    def reassigned(self) -> None:
        """Note that partitions have other owners."""
        self._placement.reassigned()

    def lease_pause(self) -> float:
        """Charge a Lease; return 0, or how long to wait before the rate allows one."""
        return self._streaming.authenticator.pause(self._principal)

    def lease(self, subscription: StreamSubscription, limit: int) -> RecordToSend:
        """Make the Lease that gets messages for a competing consumer."""
        terms = subscription.terms
        assert terms is not None
        content: f.Fields = {"limit": limit, "consumer": terms.consumer}
        if terms.visibility_ms is not None:
            content["visibility_seconds"] = terms.visibility_ms / 1000
        return self._parser.lease(subscription.queue, content)

    def owe(self, events: int) -> None:
        """Charge events that a Lease has caused, as only its result tells."""
        self._streaming.authenticator.owe(self._principal, events)

    def leased(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Send what a Lease got."""
        subscription.taken.extend(seqs)
        self._pages.enqueue(subscription)

    def give_back(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Make leased deliveries available to other consumers at once."""
        terms = subscription.terms
        assert terms is not None
        for start in range(0, len(seqs), MAX_NACK_SEQS):
            some = seqs[start : start + MAX_NACK_SEQS]
            content = {"seqs": some, "consumer": terms.consumer}
            try:
                record = self._parser.nack(subscription.queue, content)
                self._in_flight.send(record, lambda place: None, lambda error: None)
            except StreamsError as error:  # their leases expire later
                logger.debug(
                    "cannot give back %d leases of queue %s, they will expire: %s",
                    len(some),
                    subscription.queue,
                    error,
                )

    async def connect(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """Open a stream to another worker on behalf of the client."""
        return await self._streaming.connect(self._principal.token, url)

    # For the protocol ---------------------------------------------------------------------

    def grant(self, subscription: StreamSubscription, more: int) -> None:
        """Allow `more` further messages to a subscription that has a limit."""
        assert subscription.credit is not None
        subscription.credit = min(subscription.credit + more, MAX_CREDIT)
        if subscription.terms is not None and subscription.local is not None:
            if subscription.taken:
                self._pages.enqueue(subscription)
            else:
                self._streaming.leasing.again(subscription)
        else:
            self._placement.give_credit(subscription, more)

    def drop(self, subscription: StreamSubscription) -> None:
        """End a subscription; what it holds becomes available to others at once."""
        subscription.open = False
        del self.subscriptions[subscription.queue]
        had = [*subscription.taken, *subscription.held]
        self._placement.remove(subscription)
        if subscription.terms is not None:
            self._streaming.leasing.left(subscription)
            if had:
                self._acks.flush()  # first: acked deliveries are not given back
                self.give_back(subscription, had)


def named(terms: Terms | None) -> Terms | None:
    """Name a nameless consumer, so that its leases can be told from those of others."""
    if terms is None or terms.consumer:
        return terms
    return replace(terms, consumer=f"stream-{new_message_id()}")
