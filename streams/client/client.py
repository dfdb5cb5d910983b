"""The client: one object for all that a program does with groups and queues.

What it sends is confirmed by Kafka before it returns, and repeated without harm meanwhile.
"""

from __future__ import annotations

import json
import ssl as ssl_module
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, TypeAlias, Unpack

from streams.client.credentials import Credentials, TokenSource
from streams.client.errors import SessionLost
from streams.client.jobs import Job
from streams.client.messages import (
    Delivery,
    Draft,
    MessageFields,
    Published,
    QueueSummary,
    delivery,
)
from streams.client.requests import Requests, path
from streams.client.session import Session
from streams.client.subscription import Subscription

EVENTS_AT_ONCE = 5000
EVENT_BYTES_AT_ONCE = 4 * 1024 * 1024
PAGE = 1000
LONG_POLL_SECONDS = 20.0
"""How long a worker is asked to wait for something that may never come."""

Moment: TypeAlias = int | str | datetime
"""A place in the log: an offset, a time in ISO 8601, or a time with a zone."""


class Client:
    """A client of one system, by the URLs of any of its workers; an async context manager.

    Args:
        urls: base URLs of workers, `http://127.0.0.1:6066`.  One is enough: any worker answers
            for all.  With more the client goes on when one of them is away.
        token: sent as a bearer token, where workers ask for one; or a function, or coroutine
            function, that returns one and is asked again before it expires or when a worker
            refuses it.
        ssl: TLS context for `https`, when the system's authorities are not the ones to trust.
        retry_seconds: how long a request is repeated while nobody can answer it.
        follow_owners: subscribe at the workers that own the queues, as `/v1/cluster` says, and
            spare the others the work of handing deliveries on.
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        """Send a message to a group; returns once Kafka has it.  `fields` are those of `Draft`.

        Whoever is bound at that place of the log gets it, exactly once, however often the
        request had to be repeated.

        Raises:
            Refused: an id or the body is not as it may be.
            Unavailable: not confirmed in time; send it again with the same `id`.
        """
        return await self.publish_draft(Draft(body, group=group, **fields))

    async def send(
        self, queue: str, body: str | bytes, **fields: Unpack[MessageFields]
    ) -> Published:
        """Send a message directly to one queue; as `publish`."""
        return await self.publish_draft(Draft(body, queue=queue, **fields))

    async def publish_draft(self, draft: Draft) -> Published:
        """Publish a draft; as `publish`."""
        if draft.group is not None:
            target = _group(draft.group, "messages")
        else:
            target = _queue(draft.queue or "", "messages")
        answer = await self.requests.ask("POST", target, draft.fields())
        return Published(answer["id"], answer["partition"], answer["offset"])

    async def publish_many(self, drafts: Iterable[Draft]) -> list[str]:
        """Publish many drafts in few requests; returns their ids once Kafka has all of them.

        Raises:
            Refused: one of them is not as it may be; of its request nothing was sent.
            Unavailable: not all were confirmed in time; all may be sent again.
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
        """Send events as `POST /v1/events` takes them, in few requests; returns how many.

        A message without an id gets one here, so that it counts once if it is sent again.

        Raises:
            Refused: one of them is wrong; of its request nothing was sent.
            Unavailable: not all were confirmed in time.
        """
        lines: list[bytes] = []
        size = count = 0
        for event in events:
            if event.get("type") == "message" and event.get("id") is None:
                event = {**event, "id": str(uuid.uuid4())}
            line = json.dumps(event).encode()
            if lines and (len(lines) == EVENTS_AT_ONCE or size + len(line) > EVENT_BYTES_AT_ONCE):
                await self.requests.ask("POST", "/v1/events", b"\n".join(lines))
                lines, size = [], 0
            lines.append(line)
            size += len(line)
            count += 1
        if lines:
            await self.requests.ask("POST", "/v1/events", b"\n".join(lines))
        return count

    # Groups ---------------------------------------------------------------------------

    async def bind(self, group: str, queue: str, *, session: str | None = None) -> None:
        """Have a queue receive what is sent to a group; for a session, until that ends."""
        await self._change("bind", "PUT", group, queue, session)

    async def unbind(self, group: str, queue: str, *, session: str | None = None) -> None:
        """End that; with a session, only if the binding is of that session."""
        await self._change("unbind", "DELETE", group, queue, session)

    async def _change(
        self, kind: str, method: str, group: str, queue: str, session: str | None
    ) -> None:
        if session is None:
            await self.requests.ask(method, _group(group, "queues", queue))
        else:
            await self.send_events(
                [{"type": kind, "group": group, "queue": queue, "session": session}]
            )

    def members(self, group: str) -> AsyncIterator[str]:
        """Yield the queues that are bound to a group, in order."""
        return self._pages(_group(group, "queues"), "queues")

    def groups(self, queue: str) -> AsyncIterator[str]:
        """Yield the groups that a queue is bound to, in order."""
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
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what was sent to a group, as JSON, from one place of the log to another.

        At most `limit` messages; with `follow`, and no `to`, it goes on with what is sent
        meanwhile.
        """
        where, place, left = _group(group, "messages"), _moment(from_), limit
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
            if answer["end"] and not (follow and to is None):
                return

    async def replay(
        self, group: str, queue: str, *, from_: Moment = 0, to: Moment | None = None
    ) -> int:
        """Deliver a span of a group's past to a queue; return how many messages that were."""
        count, end, place = 0, False, str(_moment(from_))
        while not end:
            content = {
                "queue": queue,
                "from": place,
                "to": None if to is None else str(_moment(to)),
            }
            answer = await self.requests.ask("POST", _group(group, "replays"), content)
            count += answer["replayed"]
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
        """Subscribe to queues; iterate over what comes, for as long as you like.

            async with client.subscribe("alice", "alice-jobs") as deliveries:
                async for delivery in deliveries:
                    ...

        What is not acknowledged comes first.  A lost connection is made again, at another
        worker if need be, and the iteration goes on: within it no delivery is lost and
        none comes twice.  Without `async with`, say `await deliveries.close()` in the end.

        Args:
            queues: whose deliveries; more can be added later.
            after: begin after this seq, in each of them.
            auto_ack: acknowledge a delivery when the next one is asked for, or the block is
                left without an exception.  Otherwise say `await delivery.ack()`.
            prefetch: how many deliveries of one queue may wait here to be taken.
        """
        subscription = Subscription(self, queues, after or 0, auto_ack=auto_ack, prefetch=prefetch)
        self._subscriptions.add(subscription)
        subscription.on_close = self._subscriptions.discard
        return subscription

    async def inbox(
        self, queue: str, *, after: int = 0, limit: int = 100, wait: float = 0.0
    ) -> list[Delivery]:
        """Return what is in a queue now; wait up to `wait` seconds for the first delivery."""
        answer = await self.requests.ask(
            "GET",
            _queue(queue, "messages"),
            query={"after": after, "limit": limit, "wait": f"{wait:g}"},
            wait=wait,
        )
        return [delivery(queue, content, self) for content in answer["messages"]]

    async def queue(self, queue: str) -> QueueSummary:
        """Return how a queue is doing."""
        answer = await self.requests.ask("GET", _queue(queue))
        return QueueSummary(queue, answer["depth"], answer["groups"], answer["session"])

    async def ack(self, queue: str, *, upto: int | None = None, seqs: Sequence[int] = ()) -> None:
        """Be done with deliveries: all up to a seq, or single ones; one of the two."""
        content = {"seqs": list(seqs)} if upto is None else {"upto": upto}
        await self.requests.ask("POST", _queue(queue, "acks"), content)

    async def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> None:
        """Be done with a delivery of `inbox`."""
        if cumulative:
            await self.ack(delivery.queue, upto=delivery.seq)
        else:
            await self.ack(delivery.queue, seqs=[delivery.seq])

    async def options(self, queue: str) -> dict[str, Any]:
        """Return the options of a queue."""
        answer: dict[str, Any] = await self.requests.ask("GET", _queue(queue, "options"))
        return answer

    async def configure(self, queue: str, **options: str | float | None) -> None:
        """Set all options of a queue, by their names in `options`; others become the usual."""
        await self.requests.ask("PUT", _queue(queue, "options"), options)

    async def purge(self, queue: str) -> None:
        """Drop all messages of a queue."""
        await self.requests.ask("POST", _queue(queue, "purge"))

    async def delete(self, queue: str, *, erase: bool = False) -> dict[str, Any] | None:
        """Delete a queue; with `erase`, return what the logs hold of it still."""
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
        """Take jobs of a queue, one after the other, as one of several consumers; never ends.

            async for job in client.jobs("map-tiles", lease=30):
                async with job:
                    render(job.text)

        In its block a job is kept for as long as that takes, and others get it `lease` seconds
        after this process has died; left well it is acknowledged, after an exception given
        back.  The exception goes on: catch it outside of the block to go on with other jobs.

        With a `prefetch` more are taken at once, and kept until they are asked for: fewer
        requests, but others do not get them meanwhile.
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
        """Take messages as one of several consumers; wait up to `wait` seconds for the first.

        Others get what is not acknowledged within `visibility` seconds, 30 as a rule.
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
        """Give deliveries back (`retry`), up (`reject`), or keep them longer (`extend`)."""
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
        """Open a session of a queue for the length of an `async with` block.

        Args:
            queue: whose session; any other of it ends.
            groups: what is bound with it, with one event, however many; so is their end.
            id: a new one as a rule.
            ttl: end it when nothing was heard of it for so many seconds.  Three times in each
                the block says that it lives, and learns when it does not: then it is cancelled
                and raises SessionLost.
            presence: whether the group `presence:QUEUE` is told when it begins and ends.
            on_lost: is called with the SessionLost instead, and the block goes on.
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
        """Open a session; any other of the queue ends.  With a `ttl`, see `heartbeat`."""
        content: dict[str, Any] = {"groups": list(groups), "presence": presence}
        if ttl is not None:
            content["ttl_seconds"] = ttl
        await self.requests.ask("PUT", _queue(queue, "sessions", session), content)

    async def heartbeat(self, queue: str, session: str) -> None:
        """Keep a session from being ended for its silence.

        Raises:
            Refused: it is not open (any more), `code` is `no_session`.
        """
        await self.requests.ask("POST", _queue(queue, "sessions", session, "heartbeats"))

    async def close_session(self, queue: str, session: str) -> None:
        """Close a session; what was bound within it ends."""
        await self.requests.ask("DELETE", _queue(queue, "sessions", session))

    # The cluster ----------------------------------------------------------------------

    async def cluster(self, *, all: bool = False) -> dict[str, Any]:
        """Return partitions, owners and lag, as one worker sees them, or as `all` do."""
        answer: dict[str, Any] = await self.requests.ask(
            "GET", "/v1/cluster", query={"all": 1 if all else None}
        )
        return answer


def _group(group: str, *more: str) -> str:
    return path("v1", "groups", group, *more)


def _queue(queue: str, *more: str) -> str:
    return path("v1", "queues", queue, *more)


def _moment(moment: Moment) -> int | str:
    """Return a moment as the worker takes it."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("a time needs a time zone")
    return moment.isoformat()
