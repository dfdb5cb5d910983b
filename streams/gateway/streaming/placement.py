"""Where each subscription of one connection is served: by this worker or by another.

A subscription whose partition moves is served elsewhere from then on, after the last seq sent.
When the client is itself another worker, that worker finds the new owner instead.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Protocol

from streams.gateway.ports import Partition
from streams.gateway.streaming.subscription import StreamSubscription
from streams.gateway.streaming.upstream import Upstream

if TYPE_CHECKING:
    import aiohttp

    from streams.gateway.streaming.service import Streaming

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
TELL_SECONDS = 1.0
"""How long a subscription may be unserved before the client is told."""
CATCH_UP_SECONDS = 1.0
"""How long a subscription waits for the fold to reach what this worker has published."""
PLACED_PER_TURN = 200
"""Subscriptions placed before the event loop runs other tasks."""
NEVER = float("inf")


class PlacementConnection(Protocol):
    """The part of a stream connection that placement uses."""

    def mark(self, subscription: StreamSubscription) -> None:
        """Look for new deliveries of a subscription that is served here."""
        ...

    async def relay(
        self, subscription: StreamSubscription, seq: int, text: str, again: bool
    ) -> None:
        """Send a delivery that another worker has read."""
        ...

    def say(self, kind: str, **fields: object) -> None:
        """Send a frame that answers no frame of the client."""
        ...

    def refused(self, subscription: StreamSubscription, message: str) -> None:
        """Drop a subscription that its owner refused, and tell the client why."""
        ...

    def deleted(self, subscription: StreamSubscription) -> None:
        """Drop a subscription whose queue was deleted, and tell the client."""
        ...

    def give_up(self, subscription: StreamSubscription) -> None:
        """Drop a subscription of another worker that cannot be served here."""
        ...

    async def connect(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """Open a stream to another worker on behalf of the client."""
        ...


class Placement:
    """Assigns the subscriptions of one connection to workers."""

    def __init__(self, streaming: Streaming, client: PlacementConnection, forwarded: bool) -> None:
        self._streaming = streaming
        self._client = client
        self._forwarded = forwarded
        self._unplaced: dict[StreamSubscription, None] = {}
        self._needed = asyncio.Event()
        self._upstreams: dict[str, Upstream] = {}
        self._behind: dict[Partition, list[tuple[int, StreamSubscription]]] = {}
        self._catching_up: set[asyncio.Task[None]] = set()

    def place(self, subscription: StreamSubscription) -> None:
        """Serve a new subscription, now or as soon as a worker can."""
        subscription.waiting_since = _now()
        confirmed = self._streaming.confirmed(subscription.number)
        subscription.written = max(subscription.written, confirmed)
        if not self._try(subscription):
            self._wait(subscription)

    def lost(self, subscription: StreamSubscription) -> None:
        """Serve a subscription elsewhere: its worker does not serve it any more."""
        self._leave(subscription)
        if subscription.open:
            if not subscription.waiting_since:
                subscription.waiting_since = _now()
            self._wait(subscription)

    def remove(self, subscription: StreamSubscription) -> None:
        """Stop serving a subscription that has ended."""
        self._unplaced.pop(subscription, None)
        upstream = subscription.upstream
        self._leave(subscription)
        if upstream is not None and not upstream.subscriptions:
            self._end(upstream)

    def give_credit(self, subscription: StreamSubscription, more: int) -> None:
        """Allow `more` further messages to a subscription."""
        if subscription.upstream is not None:
            subscription.upstream.give_credit(subscription, more)
        elif subscription.local is not None:
            self._client.mark(subscription)

    def reassigned(self) -> None:
        """Move subscriptions whose partitions have other owners now."""
        for upstream in list(self._upstreams.values()):
            for subscription in upstream.subscriptions:
                if self._streaming.owner(subscription.number) != upstream.url:
                    self.lost(subscription)
            if not upstream.subscriptions:
                self._end(upstream)

    @property
    def has_room(self) -> bool:
        """Whether few frames to other workers are unsent."""
        return all(upstream.has_room for upstream in self._upstreams.values())

    async def room(self) -> None:
        """Wait until few frames to other workers are unsent."""
        for upstream in list(self._upstreams.values()):
            await upstream.room()

    async def run(self) -> None:
        """Place unserved subscriptions, for as long as the connection lives.

        Another worker may refuse a subscription at once, so a loss soon after the last
        placement is followed by a pause, too.
        """
        pause, placed_at = FIRST_PAUSE_SECONDS, -NEVER
        while True:
            await self._needed.wait()
            self._needed.clear()
            soon = _now() - placed_at < 2 * LONGEST_PAUSE_SECONDS
            if not soon:
                pause = FIRST_PAUSE_SECONDS
            while self._unplaced:
                if not soon:
                    await self._try_all()
                soon = False
                if self._unplaced:
                    self._tell()
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                    pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            placed_at = _now()

    def close(self) -> None:
        """Stop serving all subscriptions: the connection has ended."""
        for task in self._catching_up:
            task.cancel()
        for upstream in list(self._upstreams.values()):
            self._end(upstream)
        self._unplaced.clear()

    # One subscription ---------------------------------------------------------------

    def _wait(self, subscription: StreamSubscription) -> None:
        if self._forwarded:
            self._client.give_up(subscription)
        else:
            self._unplaced[subscription] = None
            self._needed.set()

    def _leave(self, subscription: StreamSubscription) -> None:
        subscription.taken.clear()  # their leases expire at the new owner
        if subscription.local is not None:
            self._streaming.watching.remove(subscription)
            subscription.local = None
        if subscription.upstream is not None:
            subscription.upstream.unsubscribe(subscription)
            subscription.upstream = None

    async def _try_all(self) -> None:
        for count, subscription in enumerate(list(self._unplaced), 1):
            if subscription in self._unplaced and self._try(subscription):
                self._unplaced.pop(subscription, None)
            if not count % PLACED_PER_TURN:
                await asyncio.sleep(0)

    def _try(self, subscription: StreamSubscription) -> bool:
        """Start serving a subscription; False when no worker can now."""
        streaming, number = self._streaming, subscription.number
        written = max(subscription.read_after, streaming.confirmed(number))
        partition = streaming.partition(number)
        if partition is not None:
            if not streaming.answers(partition):
                return False
            self._serve_here(subscription, partition, written)
            return True
        owner = streaming.owner(number)
        if owner is None or self._forwarded or streaming.is_self(owner):
            # Two workers may see different assignments for a moment.
            return False
        upstream = self._upstreams.get(owner)
        if upstream is not None and upstream.ended:
            self._end(upstream)
            upstream = None
        if upstream is None:
            if not streaming.may_open_upstream():
                return False
            streaming.upstreams += 1
            client = self._client
            upstream = Upstream(
                owner,
                client.connect,
                client.relay,
                self._served,
                self._lost_upstream,
                client.deleted,
                client.refused,
            )
            self._upstreams[owner] = upstream
        upstream.subscribe(subscription, written)
        return True

    def _serve_here(
        self, subscription: StreamSubscription, partition: Partition, written: int
    ) -> None:
        subscription.local = partition
        if partition.position > written:
            self._begin(subscription)
            return

        if partition in self._behind:
            self._behind[partition].append((written, subscription))
            return
        self._behind[partition] = [(written, subscription)]
        task = asyncio.get_running_loop().create_task(self._catch_up(partition))
        self._catching_up.add(task)
        task.add_done_callback(self._catching_up.discard)

    async def _catch_up(self, partition: Partition) -> None:
        """Start the subscriptions that wait for the fold: one task for all of a partition."""
        while behind := self._behind[partition]:
            self._behind[partition] = []
            await partition.reached(max(written for written, _ in behind), CATCH_UP_SECONDS)
            for _, subscription in behind:
                subscription.read_after = -1
                if subscription.local is partition:
                    self._begin(subscription)
        del self._behind[partition]

    def _begin(self, subscription: StreamSubscription) -> None:
        moved = subscription.owner is not None
        if moved and self._streaming.watching.was_deleted(subscription):
            self._client.deleted(subscription)
            return
        self._streaming.watching.add(subscription)
        self._served(subscription, self._streaming.own_url)
        self._client.mark(subscription)

    def _served(self, subscription: StreamSubscription, owner: str) -> None:
        """Note which worker serves a subscription, and tell the client if it changed."""
        told = subscription.waiting_since == NEVER
        if subscription.owner is not None and (subscription.owner != owner or told):
            self._client.say("moved", queue=subscription.queue, owner=owner)
        subscription.owner = owner
        subscription.waiting_since = 0.0

    def _tell(self) -> None:
        now = _now()
        for subscription in self._unplaced:
            if now - subscription.waiting_since > TELL_SECONDS:
                subscription.waiting_since = NEVER
                subscription.owner = subscription.owner or ""
                self._client.say(
                    "unavailable",
                    queue=subscription.queue,
                    message=f"{self._streaming.unreadable(subscription.number)}; "
                    "the subscription resumes by itself",
                    retry_after=LONGEST_PAUSE_SECONDS,
                )

    # Upstreams ----------------------------------------------------------------------

    def _lost_upstream(self, subscription: StreamSubscription) -> None:
        subscription.upstream = None
        for upstream in list(self._upstreams.values()):
            if upstream.ended:
                self._end(upstream)
        self.lost(subscription)

    def _end(self, upstream: Upstream) -> None:
        if self._upstreams.get(upstream.url) is upstream:
            del self._upstreams[upstream.url]
            self._streaming.upstreams -= 1
            if not upstream.ended:
                upstream.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
