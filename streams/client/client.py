"""The client: one object for all that a program does with groups and queues.

What it sends is confirmed by Kafka before it returns, and repeated without harm meanwhile.
"""

from __future__ import annotations

import json
import ssl as ssl_module
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any

from streams.client.jobs import Job
from streams.client.messages import Delivery, Draft, Published, QueueSummary, delivery
from streams.client.requests import Requests, path
from streams.client.session import Session
from streams.client.subscription import Subscription

EVENTS_AT_ONCE = 5000
EVENT_BYTES_AT_ONCE = 4 * 1024 * 1024
PAGE = 1000


class Client:
    """A client of one system, by the URLs of any of its workers; an async context manager.

    Args:
        urls: base URLs of workers, `http://127.0.0.1:6066`.  One is enough: any worker answers
            for all.  With more the client goes on when one of them is away.
        token: sent as a bearer token, where workers ask for one.
        ssl: TLS context for `https`, when the system's authorities are not the ones to trust.
        retry_seconds: how long a request is repeated while nobody can answer it.
        follow_owners: subscribe at the workers that own the queues, as `/v1/cluster` says, and
            spare the others the work of handing deliveries on.
    """

    def __init__(
        self,
        *urls: str,
        token: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        retry_seconds: float = 30.0,
        follow_owners: bool = False,
    ) -> None:
        headers = {"User-Agent": "streams-client"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        tls: ssl_module.SSLContext | bool = True if ssl is None else ssl
        self.requests = Requests(urls or ("http://127.0.0.1:6066",), headers, tls, retry_seconds)
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
        self,
        group: str,
        body: str | bytes,
        *,
        sender: str = "",
        kind: str = "text",
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        expires_at: datetime | int | None = None,
        persistent: bool = True,
        echo: bool = True,
        receipt: bool = False,
        priority: int | None = None,
    ) -> Published:
        """Send a message to a group; returns once Kafka has it.

        Whoever is bound at that place of the log gets it, exactly once, however often the
        request had to be repeated.

        Raises:
            Refused: an id or the body is not as it may be.
            Unavailable: not confirmed in time; send it again with the same `id`.
        """
        return await self.publish_draft(
            Draft(
                body,
                group=group,
                sender=sender,
                kind=kind,
                headers=headers or {},
                id=id or str(uuid.uuid4()),
                expires_at=expires_at,
                persistent=persistent,
                echo=echo,
                receipt=receipt,
                priority=priority,
            )
        )

    async def send(
        self,
        queue: str,
        body: str | bytes,
        *,
        sender: str = "",
        kind: str = "text",
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
        expires_at: datetime | int | None = None,
        persistent: bool = True,
        echo: bool = True,
        receipt: bool = False,
        priority: int | None = None,
    ) -> Published:
        """Send a message directly to one queue; as `publish`."""
        return await self.publish_draft(
            Draft(
                body,
                queue=queue,
                sender=sender,
                kind=kind,
                headers=headers or {},
                id=id or str(uuid.uuid4()),
                expires_at=expires_at,
                persistent=persistent,
                echo=echo,
                receipt=receipt,
                priority=priority,
            )
        )

    async def publish_draft(self, draft: Draft) -> Published:
        """Publish a draft; as `publish`."""
        if draft.group is not None:
            target = path("v1", "groups", draft.group, "messages")
        else:
            target = path("v1", "queues", draft.queue or "", "messages")
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

        Raises:
            Refused: one of them is wrong; of its request nothing was sent.
            Unavailable: not all were confirmed in time.
        """
        lines: list[bytes] = []
        size = count = 0
        for event in events:
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
            await self.requests.ask(method, path("v1", "groups", group, "queues", queue))
        else:
            await self.send_events(
                [{"type": kind, "group": group, "queue": queue, "session": session}]
            )

    async def members(self, group: str) -> AsyncIterator[str]:
        """Yield the queues that are bound to a group, in order."""
        async for queue in self._pages(path("v1", "groups", group, "queues"), "queues"):
            yield queue

    async def groups(self, queue: str) -> AsyncIterator[str]:
        """Yield the groups that a queue is bound to, in order."""
        async for group in self._pages(path("v1", "queues", queue, "groups"), "groups"):
            yield group

    async def _pages(self, where: str, key: str) -> AsyncIterator[str]:
        query = ""
        while True:
            answer = await self.requests.ask("GET", f"{where}?limit={PAGE}{query}")
            for one in answer[key]:
                yield one
            if answer["next"] is None:
                return
            query = "&after=" + path(answer["next"])[1:]

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
        query = f"?after={after}&limit={limit}&wait={wait:g}"
        where = path("v1", "queues", queue, "messages") + query
        answer = await self.requests.ask("GET", where, wait=wait)
        return [delivery(queue, content, self) for content in answer["messages"]]

    async def queue(self, queue: str) -> QueueSummary:
        """Return how a queue is doing."""
        answer = await self.requests.ask("GET", path("v1", "queues", queue))
        return QueueSummary(queue, answer["depth"], answer["groups"], answer["session"])

    async def ack(self, queue: str, *, upto: int | None = None, seqs: Sequence[int] = ()) -> None:
        """Be done with deliveries: all up to a seq, or single ones; one of the two."""
        content = {"seqs": list(seqs)} if upto is None else {"upto": upto}
        await self.requests.ask("POST", path("v1", "queues", queue, "acks"), content)

    async def acknowledge(self, delivery: Delivery, *, cumulative: bool) -> None:
        """Be done with a delivery of `inbox`."""
        if cumulative:
            await self.ack(delivery.queue, upto=delivery.seq)
        else:
            await self.ack(delivery.queue, seqs=[delivery.seq])

    # Jobs and options -----------------------------------------------------------------

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
        where = path("v1", "queues", queue, "leases") + f"?wait={wait:g}"
        answer = await self.requests.ask("POST", where, content, wait=wait)
        return [Job(delivery(queue, one, self), name, self) for one in answer["messages"]]

    async def history(
        self, group: str, *, from_: str | int = 0, to: str | int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what was sent to a group, as JSON, between two offsets or ISO 8601 times."""
        where = path("v1", "groups", group, "messages") + f"?limit={PAGE}"
        stop = "" if to is None else "&to=" + path(str(to))[1:]
        end = False
        while not end:
            start = path(str(from_))[1:]
            answer = await self.requests.ask("GET", f"{where}&from={start}{stop}")
            for one in answer["messages"]:
                yield one
            from_, end = answer["next"], answer["end"]

    async def replay(
        self, group: str, queue: str, *, from_: str | int = 0, to: str | int | None = None
    ) -> int:
        """Deliver a span of a group's past to a queue; return how many messages that were."""
        count, end = 0, False
        while not end:
            content = {"queue": queue, "from": str(from_), "to": None if to is None else str(to)}
            where = path("v1", "groups", group, "replays")
            answer = await self.requests.ask("POST", where, content)
            count += answer["replayed"]
            from_, end = answer["next"], answer["end"]
        return count

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
        await self.requests.ask("POST", path("v1", "queues", queue, "nacks"), content)

    async def options(self, queue: str) -> dict[str, Any]:
        """Return the options of a queue."""
        answer: dict[str, Any] = await self.requests.ask(
            "GET", path("v1", "queues", queue, "options")
        )
        return answer

    async def configure(self, queue: str, **options: str | float | None) -> None:
        """Set all options of a queue, by their names in `options`; others become the usual."""
        await self.requests.ask("PUT", path("v1", "queues", queue, "options"), options)

    async def purge(self, queue: str) -> None:
        """Drop all messages of a queue."""
        await self.requests.ask("POST", path("v1", "queues", queue, "purge"))

    async def delete(self, queue: str, *, erase: bool = False) -> dict[str, Any] | None:
        """Delete a queue; with `erase`, return what the logs hold of it still."""
        where = path("v1", "queues", queue) + ("?erase=true" if erase else "")
        answer: dict[str, Any] | None = await self.requests.ask("DELETE", where)
        return answer

    # Sessions -------------------------------------------------------------------------

    def session(self, queue: str, *, groups: Sequence[str] = (), id: str | None = None) -> Session:
        """Open a session of a queue for the length of an `async with` block.

        `groups` are bound with one event, however many, and so is their end.
        """
        return Session(self, queue, id or str(uuid.uuid4()), groups)

    async def open_session(self, queue: str, session: str, groups: Sequence[str] = ()) -> None:
        """Open a session; any other of the queue ends."""
        where = path("v1", "queues", queue, "sessions", session)
        await self.requests.ask("PUT", where, {"groups": list(groups)})

    async def close_session(self, queue: str, session: str) -> None:
        """Close a session; what was bound within it ends."""
        await self.requests.ask("DELETE", path("v1", "queues", queue, "sessions", session))

    # The cluster ----------------------------------------------------------------------

    async def cluster(self) -> dict[str, Any]:
        """Return partitions, owners and lag, as one worker sees them."""
        answer: dict[str, Any] = await self.requests.ask("GET", "/v1/cluster")
        return answer
