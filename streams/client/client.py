"""The client: one object for everything that a program does with groups and queues.

A call that sends something returns once Kafka has confirmed it; until then it is retried,
which is safe because messages have ids.
"""

from __future__ import annotations

import logging
import ssl as ssl_module
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, Unpack

from streams.client.credentials import Credentials, TokenSource
from streams.client.draft import Draft, MessageFields
from streams.client.errors import SessionLost
from streams.client.jobs import Job
from streams.client.messages import (
    Delivery,
    Published,
    QueueSummary,
    delivery,
)
from streams.client.requests import Requests, as_json, path
from streams.client.session import Session
from streams.client.subscription import Subscription

logger = logging.getLogger(__name__)

EVENTS_PER_REQUEST = 5000
EVENT_BYTES_PER_REQUEST = 4 * 1024 * 1024
PAGE = 1000
"""Entries per request when listing."""
LONG_POLL_SECONDS = 20.0
"""How long a worker is asked to hold a request until there is something to return."""

Moment: TypeAlias = int | str | datetime
"""A position in the log: an offset, an ISO 8601 time, or a time with a time zone."""


class Client:
    """A client of one system of workers; an async context manager.

    All methods may raise `Refused` (the request is invalid or not allowed), `Unavailable` (no
    worker answered in time) and `ClientClosed` (the client is not open).

    Args:
        urls: base URLs of workers; by default `http://127.0.0.1:6066`.  One is enough, since
            any worker serves every request; with more the client fails over between them.
        token: bearer token to send; or a function or coroutine function that returns one.
            A function is called again before the token expires, and when a worker rejects it.
        ssl: TLS context for `https`, to trust other certificate authorities than the system's.
        retry_seconds: how long a request is retried while no worker can serve it.
        follow_owners: open subscriptions at the workers that own the queues (see `cluster`),
            which saves the other workers from relaying deliveries.
    """

    def __init__(
        self,
        *urls: str,
        token: TokenSource | None = None,
        ssl: ssl_module.SSLContext | None = None,
        retry_seconds: float = 30.0,
        follow_owners: bool = False,
    ) -> None:
        self.requests = Requests(
            urls or ("http://127.0.0.1:6066",),
            Credentials(token),
            True if ssl is None else ssl,
            retry_seconds,
        )
        self.follow_owners = follow_owners
        self._subscriptions: set[Subscription] = set()

    async def __aenter__(self) -> Client:
        await self.requests.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all subscriptions and connections."""
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self.requests.close()

    # Messages -------------------------------------------------------------------------

    async def publish(
        self, group: str, body: str | bytes, **fields: Unpack[MessageFields]
    ) -> Published:
        """Publish a message to a group; returns once Kafka has it.

        Every queue bound at that position of the log gets the message exactly once, even if
        the request had to be retried.  `fields` are those of `Draft`.

        Raises:
            Refused: an id or the body is invalid, or the token does not allow it.
            Unavailable: not confirmed in time; to retry, publish again with the same `id`.
        """
        return await self.publish_draft(Draft(body, group=group, **fields))

    async def send(
        self, queue: str, body: str | bytes, **fields: Unpack[MessageFields]
    ) -> Published:
        """Send a message directly to one queue; otherwise the same as `publish`."""
        return await self.publish_draft(Draft(body, queue=queue, **fields))

    async def publish_draft(self, draft: Draft) -> Published:
        """Publish a draft; otherwise the same as `publish`."""
        if draft.group is not None:
            target = _group(draft.group, "messages")
        else:
            target = _queue(draft.queue or "", "messages")
        answer = await self.requests.ask("POST", target, draft.fields())
        return Published(answer["id"], answer["partition"], answer["offset"])

    async def publish_many(self, drafts: Iterable[Draft]) -> list[str]:
        """Publish many drafts in few requests; returns their ids once Kafka has all of them.

        Raises:
            Refused: a draft is invalid; none of the drafts in its request was published.
            Unavailable: not all were confirmed in time; publishing all of them again is safe.
        """
        ids: list[str] = []

        def lines() -> Iterable[dict[str, Any]]:
            for draft in drafts:
                ids.append(draft.id)
                where = {"group": draft.group} if draft.group is not None else {}
                if draft.queue is not None:
                    where = {"queue": draft.queue}
                yield {"type": "message", **where, **draft.fields()}

        await self.send_events(lines())
        return ids

    async def send_events(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Send events in the JSON form of `POST /v1/events`, in few requests; returns how many.

        A message without an id gets one, so that retries do not duplicate it.

        Raises:
            Refused: an event is invalid; none of the events in its request was sent.
            Unavailable: not all were confirmed in time.
        """
        lines: list[bytes] = []
        size = count = 0
        for event in events:
            if event.get("type") == "message" and event.get("id") is None:
                event = {**event, "id": str(uuid.uuid4())}
            line = as_json(event)
            if lines and (
                len(lines) == EVENTS_PER_REQUEST or size + len(line) > EVENT_BYTES_PER_REQUEST
            ):
                await self.requests.ask("POST", "/v1/events", b"\n".join(lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            count += 1
        if lines:
            await self.requests.ask("POST", "/v1/events", b"\n".join(lines))
        return count

    # Groups ---------------------------------------------------------------------------

    async def bind(
        self, group: str, queue: str, *, session: str | None = None, pattern: str | None = None
    ) -> None:
        """Bind a queue to a group, so that it receives what is published to the group.

        With the id of a `session`, the binding ends when that session does.  With a `pattern`,
        the queue receives the messages whose header `routing-key` matches it, or another
        pattern of the binding: words separated by dots, `*` for one word, `#` for any number.

        Raises:
            ValueError: a session and a pattern are given; a binding with patterns is permanent.
        """
        await self._change("bind", "PUT", group, queue, session, pattern)

    async def unbind(
        self, group: str, queue: str, *, session: str | None = None, pattern: str | None = None
    ) -> None:
        """Remove a binding; with the id of a `session`, only if the binding belongs to it.

        With a `pattern`, remove only that one from the binding.  Raises as `bind`.
        """
        await self._change("unbind", "DELETE", group, queue, session, pattern)

    async def _change(
        self,
        kind: str,
        method: str,
        group: str,
        queue: str,
        session: str | None,
        pattern: str | None,
    ) -> None:
        if pattern is not None:
            if session is not None:
                raise ValueError("give a session or a pattern, not both")
            event = {"type": f"{kind}_pattern", "group": group, "queue": queue, "pattern": pattern}
            await self.send_events([event])
        elif session is None:
            await self.requests.ask(method, _group(group, "queues", queue))
        else:
            await self.send_events(
                [{"type": kind, "group": group, "queue": queue, "session": session}]
            )

    async def patterns(self, group: str, queue: str) -> list[str]:
        """Return the patterns of a binding; none if it has every message, or there is none."""
        answer = await self.requests.ask("GET", _group(group, "queues", queue, "patterns"))
        found: list[str] = answer["patterns"]
        return found

    def members(self, group: str) -> AsyncIterator[str]:
        """Yield the ids of the queues bound to a group, in order."""
        return self._pages(_group(group, "queues"), "queues")

    def groups(self, queue: str) -> AsyncIterator[str]:
        """Yield the ids of the groups that a queue is bound to, in order."""
        return self._pages(_queue(queue, "groups"), "groups")

    async def _pages(self, where: str, key: str) -> AsyncIterator[str]:
        after: str | None = None
        while True:
            answer = await self.requests.ask("GET", where, query={"limit": PAGE, "after": after})
            for one in answer[key]:
                yield one
            after = answer["next"]
            if after is None:
                return

    async def history(
        self,
        group: str,
        *,
        from_: Moment = 0,
        to: Moment | None = None,
        limit: int | None = None,
        follow: bool = False,
        on_held: Callable[[int], None] | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield messages of a group from the log, as JSON fields, in order.

        Args:
            group: the group.
            from_: position to start from; by default the oldest message kept.
            to: position to stop before; by default the present end of the log.
            limit: maximum number of messages.
            follow: continue with new messages as they arrive, unless `to` is given.
            on_held: called with the first offset that an open transaction of a producer keeps
                from being read, when the log ends there for now; by default a warning is logged.
        """
        where, place, left = _group(group, "messages"), _moment(from_), limit
        held = _Held(group, on_held)
        while left is None or left > 0:
            page = PAGE if left is None else min(PAGE, left)
            wait = LONG_POLL_SECONDS if follow else 0.0
            query: dict[str, str | float | None] = {
                "from": place,
                "to": None if to is None else _moment(to),
                "limit": page,
                "wait": f"{wait:g}",
            }
            answer = await self.requests.ask("GET", where, query=query, wait=wait)
            for one in answer["messages"]:
                yield one
            if left is not None:
                left -= len(answer["messages"])
            place = answer["next"]
            held.note(answer)
            if answer["end"] and not (follow and to is None):
                return

    async def replay(
        self,
        group: str,
        queue: str,
        *,
        from_: Moment = 0,
        to: Moment | None = None,
        on_held: Callable[[int], None] | None = None,
    ) -> int:
        """Deliver a range of a group's history to a queue; return the number of messages.

        `from_`, `to` and `on_held` are as for `history`.  Replaying the same range
        again within ten minutes adds nothing.
        """
        count, end, place = 0, False, str(_moment(from_))
        held = _Held(group, on_held)
        while not end:
            content = {
                "queue": queue,
                "from": place,
                "to": None if to is None else str(_moment(to)),
            }
            answer = await self.requests.ask("POST", _group(group, "replays"), content)
            count += answer["replayed"]
            held.note(answer)
            place, end = str(answer["next"]), answer["end"]
        return count

    # Queues ---------------------------------------------------------------------------

    def subscribe(
        self,
        *queues: str,
        after: int | None = None,
        auto_ack: bool = True,
        prefetch: int = 100,
    ) -> Subscription:
        """Subscribe to queues; returns an async context manager to iterate over.

            async with client.subscribe("alice", "alice-jobs") as deliveries:
                async for delivery in deliveries:
                    ...

        Unacknowledged deliveries come first.  After a lost connection the client reconnects,
        if necessary to another worker, and the iteration continues: within it no delivery is
        lost and none is repeated.  Without `async with`, call `await deliveries.close()`.

        Args:
            queues: ids of the queues; more can be added later.
            after: skip deliveries up to this seq, in each queue.
            auto_ack: acknowledge a delivery when the next one is requested, or when the block
                ends without an exception.  Otherwise call `await delivery.ack()`.
            prefetch: maximum number of deliveries of one queue buffered in the client.

        Raises:
            ValueError: `prefetch` is less than 1.
        """
        subscription = Subscription(self, queues, after or 0, auto_ack=auto_ack, prefetch=prefetch)
        self._subscriptions.add(subscription)
        subscription.on_close = self._subscriptions.discard
        return subscription

    async def inbox(
        self, queue: str, *, after: int = 0, limit: int = 100, wait: float = 0.0
    ) -> list[Delivery]:
        """Return unacknowledged deliveries of a queue, at most `limit`, with a seq above `after`.

        If there are none, wait up to `wait` seconds for the first.
        """
        answer = await self.requests.ask(
            "GET",
            _queue(queue, "messages"),
            query={"after": after, "limit": limit, "wait": f"{wait:g}"},
            wait=wait,
        )
        return [delivery(queue, content, self) for content in answer["messages"]]

    async def queue(self, queue: str) -> QueueSummary:
        """Return the state of a queue."""
        answer = await self.requests.ask("GET", _queue(queue))
        return QueueSummary(queue, answer["depth"], answer["groups"], answer["session"])

    async def ack(self, queue: str, *, upto: int | None = None, seqs: Sequence[int] = ()) -> None:
        """Acknowledge deliveries: either all up to the seq `upto`, or those in `seqs`."""
        content = {"seqs": list(seqs)} if upto is None else {"upto": upto}
        await self.requests.ask("POST", _queue(queue, "acks"), content)

    async def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> None:
        """Acknowledge a delivery from `inbox`; with `cumulative`, all before it too."""
        if cumulative:
            await self.ack(delivery.queue, upto=delivery.seq)
        else:
            await self.ack(delivery.queue, seqs=[delivery.seq])

    async def options(self, queue: str) -> dict[str, Any]:
        """Return the options of a queue, by name."""
        answer: dict[str, Any] = await self.requests.ask("GET", _queue(queue, "options"))
        return answer

    async def configure(self, queue: str, **options: str | float | None) -> None:
        """Set the options of a queue; those not given return to their defaults."""
        await self.requests.ask("PUT", _queue(queue, "options"), options)

    async def purge(self, queue: str) -> None:
        """Drop all deliveries of a queue."""
        await self.requests.ask("POST", _queue(queue, "purge"))

    async def delete(self, queue: str, *, erase: bool = False) -> dict[str, Any] | None:
        """Delete a queue with its bindings, session and deliveries.

        With `erase`, return a report of what the logs still retain of it; otherwise None.
        """
        answer: dict[str, Any] | None = await self.requests.ask(
            "DELETE", _queue(queue), query={"erase": "true" if erase else None}
        )
        return answer

    # Jobs -----------------------------------------------------------------------------

    async def jobs(
        self,
        queue: str,
        *,
        lease: float = 30.0,
        consumer: str | None = None,
        prefetch: int = 1,
    ) -> AsyncIterator[Job]:
        """Yield jobs of a queue, as one of several competing consumers; never ends.

            async for job in client.jobs("map-tiles", lease=30):
                async with job:
                    render(job.text)

        Inside `async with job` the lease is extended for as long as the block takes.  If this
        process dies, another consumer gets the job after at most `lease` seconds.  A block
        that ends normally acknowledges the job.  One that raises returns the job to the queue
        and propagates the exception: catch it outside the block to continue with other jobs.

        Args:
            queue: id of the queue.
            lease: duration of a lease, in seconds.
            consumer: name of this consumer; a new UUID by default.
            prefetch: number of jobs to lease at once.  More than one saves requests, but other
                consumers do not get jobs that wait here.
        """
        name = consumer or str(uuid.uuid4())
        waiting: deque[Job] = deque()
        try:
            while True:
                waiting += await self.lease(
                    queue, limit=prefetch, visibility=lease, wait=LONG_POLL_SECONDS, consumer=name
                )
                for job in waiting:
                    job.keep()
                while waiting:
                    job = waiting.popleft()
                    job.let_go()
                    yield job
        finally:
            for job in waiting:
                await job.give_back()

    async def lease(
        self,
        queue: str,
        *,
        limit: int = 1,
        visibility: float | None = None,
        wait: float = 0.0,
        consumer: str | None = None,
    ) -> list[Job]:
        """Lease up to `limit` messages of a queue, as one of several competing consumers.

        Args:
            queue: id of the queue.
            limit: maximum number of messages.
            visibility: duration of the lease in seconds; by default the queue's option, which
                is 30 unless configured.  After that, other consumers get what is not
                acknowledged.
            wait: how long to wait for the first message, in seconds.
            consumer: name of this consumer; a new UUID by default.
        """
        name = consumer or str(uuid.uuid4())
        content: dict[str, Any] = {"limit": limit, "consumer": name}
        if visibility is not None:
            content["visibility_seconds"] = visibility
        answer = await self.requests.ask(
            "POST", _queue(queue, "leases"), content, query={"wait": f"{wait:g}"}, wait=wait
        )
        found = answer["messages"]
        return [Job(delivery(queue, one, self), name, self, visibility) for one in found]

    async def nack(
        self,
        queue: str,
        seqs: Sequence[int],
        *,
        outcome: str = "retry",
        delay: float = 0.0,
        consumer: str | None = None,
    ) -> None:
        """Settle leased deliveries without acknowledging them.

        Args:
            queue: id of the queue.
            seqs: seqs of the deliveries.
            outcome: `retry` returns them to the queue, after `delay`; `reject` gives up and
                moves them to the dead-letter queue, if there is one; `extend` makes the
                lease last `delay` seconds from now.
            delay: in seconds.
            consumer: name of the consumer that holds the lease.
        """
        content = {"seqs": list(seqs), "outcome": outcome, "delay_seconds": delay}
        if consumer is not None:
            content["consumer"] = consumer
        await self.requests.ask("POST", _queue(queue, "nacks"), content)

    # Sessions -------------------------------------------------------------------------

    def session(
        self,
        queue: str,
        *,
        groups: Sequence[str] = (),
        id: str | None = None,
        ttl: float | None = None,
        presence: bool = True,
        on_lost: Callable[[SessionLost], None] | None = None,
    ) -> Session:
        """Open a session of a queue for the duration of an `async with` block.

        Args:
            queue: id of the queue; any other session of it ends.
            groups: groups to bind the queue to while the session is open.  All are bound and
                unbound with one event each way, whatever their number.
            id: id of the session; a new UUID by default.
            ttl: end the session after this many seconds without a heartbeat.  The client sends
                three in that time.  If the session is lost, the block is cancelled and raises
                `SessionLost`.
            presence: whether the group `presence:QUEUE` is told when the session begins and ends.
            on_lost: called with the `SessionLost` instead of cancelling the block.

        Raises:
            ValueError: `ttl` is not positive.
            SessionLost: raised by the block, see `ttl`.
        """
        return Session(
            self,
            queue,
            id or str(uuid.uuid4()),
            groups,
            ttl=ttl,
            presence=presence,
            on_lost=on_lost,
        )

    async def open_session(
        self,
        queue: str,
        session: str,
        groups: Sequence[str] = (),
        *,
        ttl: float | None = None,
        presence: bool = True,
    ) -> None:
        """Open a session; any other session of the queue ends.

        With a `ttl` in seconds, the caller must send a `heartbeat` within each `ttl`.  `session`
        does all this as a context manager.
        """
        content: dict[str, Any] = {"groups": list(groups), "presence": presence}
        if ttl is not None:
            content["ttl_seconds"] = ttl
        await self.requests.ask("PUT", _queue(queue, "sessions", session), content)

    async def heartbeat(self, queue: str, session: str) -> None:
        """Tell the system that a session with a `ttl` is alive.

        Raises:
            Refused: with the code `no_session`, if the session is not open.
        """
        await self.requests.ask("POST", _queue(queue, "sessions", session, "heartbeats"))

    async def close_session(self, queue: str, session: str) -> None:
        """Close a session and remove its bindings."""
        await self.requests.ask("DELETE", _queue(queue, "sessions", session))

    # The cluster ----------------------------------------------------------------------

    async def cluster(self, *, all: bool = False) -> dict[str, Any]:
        """Return partitions, their owners and lag, as one worker sees them.

        With `all`, each worker's view.
        """
        answer: dict[str, Any] = await self.requests.ask(
            "GET", "/v1/cluster", query={"all": 1 if all else None}
        )
        return answer


class _Held:
    """Tells once of each open transaction at which a history ends for now."""

    def __init__(self, group: str, on_held: Callable[[int], None] | None) -> None:
        self._group = group
        self._tell = on_held or self._warn
        self._offset: int | None = None

    def note(self, answer: Mapping[str, Any]) -> None:
        """Take an answer; workers of earlier versions do not say whether a transaction holds."""
        offset = answer.get("held")
        if offset is not None and offset != self._offset:
            self._tell(offset)
        self._offset = offset

    def _warn(self, offset: int) -> None:
        logger.warning(
            "the history of group %s ends for now at offset %d: an open transaction of a producer "
            "holds what follows",
            self._group,
            offset,
        )


def _group(group: str, *more: str) -> str:
    return path("v1", "groups", group, *more)


def _queue(queue: str, *more: str) -> str:
    return path("v1", "queues", queue, *more)


def _moment(moment: Moment) -> int | str:
    """Return a moment in the form that workers accept."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return moment.isoformat()
