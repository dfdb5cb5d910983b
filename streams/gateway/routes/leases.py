"""Competing consumers: lease the messages of a queue, and return what was not processed."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext

from aiohttp import web

from streams.folds import views
from streams.folds.tables import QUEUES
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.bodies import json_object, read_body
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import deleted, unavailable
from streams.gateway.http.fields import Fields
from streams.gateway.http.paths import seconds
from streams.gateway.http.responses import messages_response, no_content
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.http.sending import page_bytes
from streams.gateway.ports import Partition, RecordToSend
from streams.gateway.reads.deliveries import Shown, some
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.readers import Reader, Readers
from streams.gateway.routes.paging import MAX_RESPONSE_BYTES, MAX_WAIT_SECONDS
from streams.gateway.writes.admission import Admission, Share
from streams.gateway.writes.event_writer import LIST_BODY_BYTES, SMALL_BODY_BYTES, EventWriter
from streams.gateway.writes.publishing import Publishing

FOLD_SECONDS = 10.0
"""How long the fold may take to reach a Lease that Kafka has confirmed."""


class LeaseRoutes(Routes):
    """Handlers for the leases of one queue."""

    def __init__(
        self,
        authenticator: Authenticator,
        router: PartitionRouter,
        writer: EventWriter,
        publishing: Publishing,
        admission: Admission,
        long_polls: LongPolls,
        readers: Readers,
        results: LeaseResults,
        unsent: Admission,
    ) -> None:
        self._authenticator = authenticator
        self._router = router
        self._writer = writer
        self._publishing = publishing
        self._admission = admission
        self._long_polls = long_polls
        self._readers = readers
        self._results = results
        self._unsent = unsent

    async def lease(self, context: RequestContext) -> web.StreamResponse:
        """Lease messages to a competing consumer; wait for the first one if asked to.

        The fold decides which consumer gets what, in the order of the log.  How many a Lease asks
        for is decided here: no more than fit in a response, which can no longer be refused.
        """
        queue, parser = context.id("queue"), context.parser
        wait = seconds(context.parameters("wait"), "wait", MAX_WAIT_SECONDS)

        async def read(partition: Partition) -> web.StreamResponse:
            with Share(self._admission, context.principal.name or None) as share:
                body = await read_body(context.request, SMALL_BODY_BYTES, share)
            content = json_object(body) if body.strip() else {}
            parser.lease(queue, dict(content))  # an invalid request fails now, not after a wait
            now = asyncio.get_running_loop().time
            deadline = now() + min(wait, context.principal.seconds_left)
            key = queue.encode()
            charged = True  # the request itself pays for the first Lease
            with self._readers.reading(key) if wait else nullcontext(Reader()) as reader:
                while True:
                    self._router.check(partition)
                    left, pause = deadline - now(), 0.0
                    messages: list[Shown] = []
                    if views.may_lease(partition.rows, queue):
                        if not charged:
                            pause = self._authenticator.pause(context.principal)
                        if not pause:
                            charged = False
                            messages = await self._lease(context, partition, queue, content)
                    if messages or left <= 0:
                        return messages_response(messages)
                    self._router.check(partition)
                    if reader.deleted:
                        raise deleted(queue)
                    if pause:
                        await asyncio.sleep(min(pause, left))
                        context.principal.check()
                    elif not views.may_lease(partition.rows, queue):
                        await self._long_polls.wait(key, partition, left)
                        context.principal.check()

        return await self._router.read(context.proxied, QUEUES, queue, read, wait)

    async def _lease(
        self, context: RequestContext, partition: Partition, queue: str, content: Fields
    ) -> list[Shown]:
        """Append a Lease for as many messages as fit in a response, and return what it got.

        Raises:
            HTTPError: 429 if clients do not read what they asked for before; else as `_take`.
        """
        holder, unsent = context.principal.name or None, self._unsent
        limit = content.get("limit") or 1
        most, now = page_bytes(unsent, holder, MAX_RESPONSE_BYTES), time.time_ns() // 1_000_000
        count, size = views.leasable(partition.rows, queue, limit, most, now)
        unsent.take(size, holder)  # until the response is sent, which takes its own share
        try:
            record = context.parser.lease(queue, {**content, "limit": count})
            return await self._take(context, partition, queue, record)
        finally:
            unsent.give_back(size, holder)

    async def _take(
        self, context: RequestContext, partition: Partition, queue: str, record: RecordToSend
    ) -> list[Shown]:
        """Append a Lease and return what it got; charge what becomes of it after its last try.

        Raises:
            HTTPError: 503 if the result was lost; the messages return when the lease expires.
        """
        _, offset = await self._publishing.publish(record)
        await partition.reached(offset, FOLD_SECONDS)
        self._router.check(partition)
        seqs = self._results.take(partition.number, offset)
        if seqs is None:
            raise unavailable("the lease was made, but its result is not known here; try again")
        last = views.last_tries(partition.rows, queue, seqs)
        self._authenticator.owe(context.principal, last)
        return some(partition.rows, queue, seqs)

    async def nack(self, context: RequestContext) -> web.StreamResponse:
        """Return deliveries: to retry them, reject them, or extend their lease."""
        context.parameters()
        queue, parser = context.id("queue"), context.parser
        await self._writer.write_body(
            context, LIST_BODY_BYTES, lambda content: parser.nack(queue, content)
        )
        return no_content()

    ROUTES = (
        HTTPRoute("POST", "/v1/queues/{queue}/leases", lease),
        HTTPRoute("POST", "/v1/queues/{queue}/nacks", nack),
    )
