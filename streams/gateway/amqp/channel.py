"""One channel: messages that arrive in pieces, what is unacknowledged, and its consumers.

Pure; knows tags and limits, no sockets and no queues.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.gateway.amqp.confirms import Confirms
from streams.gateway.amqp.errors import (
    CONTENT_TOO_LARGE,
    PRECONDITION_FAILED,
    UNEXPECTED_FRAME,
    AMQPError,
)
from streams.gateway.amqp.frames import ContentHeader, Publish

MOST_UNACKED: Final = 2000
"""Messages that a consumer may hold without a limit of its own."""


class Incoming(NamedTuple):
    """A complete message of a client."""

    publish: Publish
    properties: bytes
    body: bytes


@dataclass(eq=False, slots=True)
class Consumer:
    """One consumer of a channel."""

    channel: Channel
    tag: str
    queue: str
    no_ack: bool
    exclusive: bool
    prefetch: int
    """Messages that it may hold; 0 for no limit."""
    unacked: int = 0
    encoded_tag: bytes = b""

    def __post_init__(self) -> None:
        """Encode the tag once."""
        self.encoded_tag = self.tag.encode()

    @property
    def room(self) -> int:
        """How many messages it may still get."""
        if not self.channel.flows:
            return 0
        if self.no_ack:
            return MOST_UNACKED
        room = min(self.prefetch or MOST_UNACKED, MOST_UNACKED) - self.unacked
        if self.channel.prefetch:
            room = min(room, self.channel.prefetch - self.channel.consumers_unacked)
        return max(room, 0)


class Unacked(NamedTuple):
    """A delivery that the client has not acknowledged."""

    queue: str
    seq: int
    consumer: Consumer | None
    """None for a basic.get."""


@dataclass(eq=False, slots=True)
class _Partial:
    publish: Publish
    header: ContentHeader | None = None
    pieces: list[bytes] = field(default_factory=list)
    received: int = 0


class Channel:
    """The state of one channel."""

    def __init__(self, number: int, max_body: int, held: Counter[str] | None = None) -> None:
        """Take the number, the longest body, and where deliveries of queues are counted."""
        self.number = number
        self._held = Counter() if held is None else held
        self.consumers: dict[str, Consumer] = {}
        self.unacked: dict[int, Unacked] = {}
        """Deliveries by tag, in ascending order."""
        self.consumers_unacked = 0
        """Those of consumers, which a limit of the channel counts."""
        self.prefetch = 0
        """Messages that all consumers together may hold; 0 for no limit."""
        self.consumer_prefetch = 0
        """The limit of consumers that begin later; 0 for none."""
        self.flows = True
        """Whether the client wants deliveries now."""
        self.confirms: Confirms | None = None
        self.closing = False
        """Whether this side has closed it, and waits for the client to agree."""
        self.last_queue = ""
        """The queue that was declared last: what an empty name means."""
        self._max_body = max_body
        self._tag = 0
        self._partial: _Partial | None = None
        self._tags = 0

    # Messages of the client ------------------------------------------------------------

    @property
    def pending_bytes(self) -> int:
        """Length of the body that is arriving; 0 without one."""
        partial = self._partial
        return partial.header.body_size if partial is not None and partial.header else 0

    def check_method(self) -> None:
        """Check that a method may come now.

        Raises:
            AMQPError: 505, a message is not complete yet.
        """
        if self._partial is not None:
            raise AMQPError(UNEXPECTED_FRAME, "a method came before the message was complete")

    def begin(self, publish: Publish) -> None:
        """Take a basic.publish; its header and body follow."""
        self._partial = _Partial(publish)

    def header(self, header: ContentHeader) -> Incoming | None:
        """Take a content header; return the message if it has no body.

        Raises:
            AMQPError: 505 without a basic.publish before it; 311, the body is too long.
        """
        partial = self._partial
        if partial is None or partial.header is not None:
            raise AMQPError(UNEXPECTED_FRAME, "a content header came without a basic.publish")
        if header.body_size > self._max_body:
            self._partial = None
            raise AMQPError(
                CONTENT_TOO_LARGE,
                f"a body of {header.body_size} bytes is over the limit of {self._max_body} "
                "(STREAMS_MAX_BODY_BYTES)",
            )
        partial.header = header
        return None if header.body_size else self._complete(partial)

    def body(self, piece: bytes) -> Incoming | None:
        """Take a piece of a body; return the message once it is complete.

        Raises:
            AMQPError: 505 without a header before it, or beyond the length that it said.
        """
        partial = self._partial
        if partial is None or partial.header is None:
            raise AMQPError(UNEXPECTED_FRAME, "a body came without a content header")
        if not piece:
            return None
        partial.pieces.append(piece)
        partial.received += len(piece)
        if partial.received > partial.header.body_size:
            raise AMQPError(UNEXPECTED_FRAME, "a body is longer than its header said")
        return self._complete(partial) if partial.received == partial.header.body_size else None

    def _complete(self, partial: _Partial) -> Incoming:
        assert partial.header is not None
        self._partial = None
        return Incoming(partial.publish, partial.header.properties, b"".join(partial.pieces))

    # Deliveries --------------------------------------------------------------------------

    def delivered(self, queue: str, seq: int, consumer: Consumer | None, *, no_ack: bool) -> int:
        """Return the tag of a delivery, and note it unless it needs no acknowledgement."""
        self._tag += 1
        if not no_ack:
            self.unacked[self._tag] = Unacked(queue, seq, consumer)
            self._held[queue] += 1
            self._count(consumer, 1)
        return self._tag

    def settle(self, tag: int, multiple: bool) -> list[Unacked]:
        """Remove and return the deliveries that an ack, nack or reject names.

        Tag 0 with `multiple` means all of them.

        Raises:
            AMQPError: 406, there is no delivery of that tag.
        """
        if not multiple:
            found = self.unacked.pop(tag, None)
            if found is None:
                raise AMQPError(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
            self._count(found.consumer, -1)
            self._held[found.queue] -= 1
            if not self._held[found.queue]:
                del self._held[found.queue]
            return [found]
        if tag and (tag > self._tag or tag < next(iter(self.unacked), tag + 1)):
            raise AMQPError(PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        tags = [one for one in self.unacked if not tag or one <= tag]
        return [self.settle(one, False)[0] for one in tags]

    def settle_all(self) -> list[Unacked]:
        """Remove and return all deliveries: they are recovered, or the channel has ended."""
        return self.settle(0, True)

    def new_tag(self) -> str:
        """Return a tag for a consumer that did not name itself."""
        while True:
            self._tags += 1
            tag = f"amq.ctag-{self.number}-{self._tags}"
            if tag not in self.consumers:
                return tag

    def _count(self, consumer: Consumer | None, change: int) -> None:
        if consumer is not None:
            consumer.unacked += change
            self.consumers_unacked += change
