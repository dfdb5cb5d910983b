"""What the methods of a connection use: one object for all of its channels."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Protocol

from pamqp import base, commands

from streams.errors import StreamsError, Unavailable
from streams.folds.jobs import RETRY
from streams.gateway.amqp import frames, names
from streams.gateway.amqp.arguments import UNUSED_SECONDS
from streams.gateway.amqp.channel import Channel, Consumer
from streams.gateway.amqp.errors import (
    INTERNAL_ERROR,
    NOT_FOUND,
    RESOURCE_LOCKED,
    AMQPError,
    to_amqp_error,
)
from streams.gateway.amqp.feed import Feed
from streams.gateway.amqp.holders import SESSION_PREFIX, Holders
from streams.gateway.amqp.questions import Questions, QueueState
from streams.gateway.http.errors import HTTPError
from streams.gateway.ports import RecordMetadata, RecordToSend

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.gateway.amqp.exchanges import Exchanges
    from streams.gateway.amqp.registry import Registry

BUSY_SECONDS: Final = 0.1
"""Pause before a record is tried again that this worker has no room for."""


HOLDER_PAUSE_SECONDS: Final = 0.5
"""Pause before the worker of an exclusive queue's connection is asked again."""


class Pace(Protocol):
    """Waits until the client's rate allows more events, and tells it that it is blocked."""

    async def __call__(self, events: int) -> None:
        """Charge events; wait until they are allowed."""
        ...


class Session:
    """One client, its channels, and what its methods do to queues."""

    def __init__(
        self,
        feed: Feed,
        questions: Questions,
        registry: Registry,
        exchanges: Exchanges,
        holders: Holders,
        send: Callable[[bytes], None],
        pace: Pace,
        user: str,
    ) -> None:
        """Take the parts; `send` sends bytes to the client after those before."""
        self.feed = feed
        self.questions = questions
        self.registry = registry
        registry.connections.add(feed.name)
        self.exchanges = exchanges
        self.holders = holders
        self.pace = pace
        self.user = user
        self.frame_max = 0
        self.bound: dict[tuple[str, str | None], float] = {}
        """Groups, with the routing keys of topic exchanges, that reach a queue, and until when
        that counts as known."""
        self.send = send
        self.channels: dict[int, Channel] = {}
        self.exclusive: set[str] = set()
        """Exclusive queues of this connection."""

    def reply(self, channel: Channel, method: base.Frame) -> None:
        """Send a method on a channel."""
        self.send(frames.encode(channel.number, method))

    async def settled(self, queue: str) -> None:
        """Wait until a look at a queue shows all that the client has sent before.

        Acks and messages must be in Kafka.  A message is in the log of its group then; a mark
        behind it in the log of the queue tells where to look.

        Raises:
            AMQPError: 541, a partition does not get so far in time.
        """
        await self.feed.settled()
        places = self.feed.places
        sources = places.unmarked(queue)
        marks = (self.questions.mark(sent.group, queue, sent.offset) for _, sent in sources)
        offsets = await asyncio.gather(*marks)
        for (source, sent), offset in zip(sources, offsets, strict=True):
            places.marked(queue, source, sent, offset)

    async def state(self, queue: str) -> QueueState:
        """Return the state of a queue, after what this client is known to have done to it."""
        return await self.questions.queue(queue, self.feed.places.read_at(queue))

    # Records -------------------------------------------------------------------------------

    async def write(self, record: RecordToSend) -> None:
        """Append a record of the client; return once Kafka has it.

        Raises:
            AMQPError: 541 if Kafka does not confirm it.
        """
        await self.pace(record.events)
        await self.append_confirmed(record)

    async def append_confirmed(self, record: RecordToSend) -> RecordMetadata:
        """Append a record whose events are charged; raises as `write`."""
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()

        def confirmed(place: RecordMetadata) -> None:
            if not done.done():
                done.set_result(place)

        def failed(error: StreamsError) -> None:
            if not done.done():
                done.set_exception(error)

        await self.append(record, confirmed, failed)
        try:
            return await done
        except Unavailable as error:
            raise AMQPError(INTERNAL_ERROR, str(error)) from error

    async def append(
        self,
        record: RecordToSend,
        confirmed: Callable[[RecordMetadata], None],
        failed: Callable[[StreamsError], None],
    ) -> None:
        """Append a record after those before it, as soon as this worker has room for it."""
        while True:
            try:
                self.feed.append(record, confirmed, failed)
                break
            except HTTPError as error:
                if error.status != 429:
                    raise
                await asyncio.sleep(BUSY_SECONDS)
        await self.feed.room()

    # Queues ----------------------------------------------------------------------------------

    async def existing(self, queue: str) -> QueueState:
        """Return the state of a queue that this client may use.

        Raises:
            AMQPError: 404 without such a queue, 405 if it is another connection's.
        """
        state = await self.state(names.check_queue(queue))
        self.check_lock(queue, state)
        if not state.exists:
            raise no_queue(queue)
        return state

    def check_lock(self, queue: str, state: QueueState) -> None:
        """Check that a queue is not exclusive to another connection; raises 405 if it is."""
        session = state.session
        if session and session.startswith(SESSION_PREFIX) and session != self.feed.name:
            raise AMQPError(RESOURCE_LOCKED, f"queue {queue!r} is exclusive to another connection")

    async def unlocked(self, queue: str, state: QueueState) -> QueueState:
        """Return the state of a queue that no other connection holds.

        One that a dead connection holds is deleted, as the end of the connection would have done.

        Raises:
            AMQPError: 405, it is another connection's that lives.
        """
        deadline = time.monotonic() + UNUSED_SECONDS
        while True:
            try:
                self.check_lock(queue, state)
            except AMQPError:
                alive = await self.holders.lives(state.session or "", self.questions.token)
                if alive or time.monotonic() > deadline:
                    raise
                if alive is None:
                    await asyncio.sleep(HOLDER_PAUSE_SECONDS)
                else:
                    await self.write(self.feed.parser.delete(queue))
                    await self.questions.cleared(queue)
                state = await self.state(queue)
            else:
                return state

    async def touch(self) -> None:
        """Keep the exclusive queues of this connection, read or not."""
        for queue in list(self.exclusive):
            try:
                await self.append(self.feed.parser.touch(queue, self.feed.name), _ignore, _ignore)
            except StreamsError:  # touched again later, well before it ends
                continue

    # Deliveries ------------------------------------------------------------------------------

    def held(self) -> dict[str, list[int]]:
        """Return the seqs that the client holds, by queue."""
        found: dict[str, list[int]] = defaultdict(list)
        for channel in self.channels.values():
            for one in channel.unacked.values():
                found[one.queue].append(one.seq)
        return found

    def requeue(self, channel: Channel) -> None:
        """Return everything that a channel holds to its queues."""
        queues: dict[str, list[int]] = defaultdict(list)
        for one in channel.settle_all():
            queues[one.queue].append(one.seq)
        for queue, seqs in queues.items():
            self.feed.nack(queue, seqs, RETRY)
        for queue in queues:
            self.feed.refill(queue)

    def refill(self, channel: Channel) -> None:
        """Let all consumers of a channel have what they may have now."""
        for queue in {one.queue for one in channel.consumers.values()}:
            self.feed.refill(queue)

    def end_consumer(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        if consumer.channel.consumers.pop(consumer.tag, None) is not None:
            self.feed.cancel(consumer)
            self.registry.consumer_ended(consumer)

    def end_channel(self, channel: Channel) -> None:
        """Forget a channel: its consumers end, and what it holds goes back."""
        self.channels.pop(channel.number, None)
        for consumer in list(channel.consumers.values()):
            self.end_consumer(consumer)
        self.requeue(channel)

    def close(self) -> None:
        """End everything: the connection has ended."""
        self.registry.connections.discard(self.feed.name)
        for channel in list(self.channels.values()):
            self.end_channel(channel)
        for queue in self.exclusive:
            try:
                self.feed.append(self.feed.parser.delete(queue), _ignore, _ignore)
            except StreamsError:  # it ends by its time to live
                continue
        self.feed.close()

    def fail(self, channel: Channel, error: StreamsError) -> None:
        """Close a channel because of an error that no method is answered with."""
        if channel.closing or self.channels.get(channel.number) is not channel:
            return
        refusal = to_amqp_error(error)
        self.close_channel(channel, refusal, 0, 0)

    def close_channel(
        self, channel: Channel, error: AMQPError, class_id: int, method_id: int
    ) -> None:
        """Tell the client that a channel is closed, and end it; wait for it to agree."""
        self.end_channel(channel)
        channel.closing = True
        self.channels[channel.number] = channel
        self.reply(
            channel,
            commands.Channel.Close(error.code, error.reply_text, class_id, method_id),
        )


def no_queue(queue: str) -> AMQPError:
    """Return the error for a queue that there is not."""
    return AMQPError(NOT_FOUND, f"no queue {queue!r} in vhost '/'")


def _ignore(_: Any) -> None:
    """Ignore an outcome."""
