"""Marks in the log of a queue: up to there, it has what was sent to a group before.

Internal: the AMQP side of a worker asks for one before it tells a client what is in a queue, so
that it never says less than the client has sent.

`POST /v1/groups/{group}/marks/{queue}` returns `{"offset": 17}`.  The owner of the group answers:
what route has sent so far is in Kafka before the mark, which is a Touch of the queue, since one
producer sends both.  With `Streams-Read-At`, that includes what the group's partition has up to
that offset, but for messages to large groups, which are sent step by step.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiohttp import web

from streams.errors import Unavailable
from streams.events.codec import encode
from streams.events.records import Touch
from streams.folds.tables import MEMBERS
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.http.context import RequestContext
from streams.gateway.http.responses import json_response
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Engine, Partition
from streams.kafka.partitioner import partition_of
from streams.settings import Settings

MARK_SECONDS: Final = 10.0
"""How long Kafka may take to confirm a mark."""


class MarkRoutes(Routes):
    """The handler for marks."""

    def __init__(self, router: PartitionRouter, engine: Engine, settings: Settings) -> None:
        self._router = router
        self._engine = engine
        self._topic = settings.queue_events
        self._partitions = settings.partitions

    async def mark(self, context: RequestContext) -> web.StreamResponse:
        """Append a mark after what route has sent, and return its offset."""
        context.parameters()
        group, queue = context.destination("group"), context.id("queue")
        key = queue.encode()

        async def read(_: Partition) -> web.StreamResponse:
            value = encode(Touch(queue, "", at=time.time_ns() // 1_000_000))
            number = partition_of(key, self._partitions)
            mark = self._engine.mark(self._topic, number, key, value, "Touch")
            try:
                offset = await asyncio.wait_for(mark, MARK_SECONDS)
            except TimeoutError as error:
                raise Unavailable(
                    f"Kafka has not confirmed a record for {self._topic}/{number} within "
                    f"{MARK_SECONDS:.0f} s; try again"
                ) from error
            return json_response({"offset": offset})

        return await self._router.read(context.proxied, MEMBERS, group, read)

    ROUTES = (HTTPRoute("POST", "/v1/groups/{group}/marks/{queue}", mark),)
