"""One queue as server-sent events, for a browser's EventSource or curl.

Each message is an event with its seq as the event id: a client that reconnects with
Last-Event-ID continues where it was.  The stream ends when the partition moves; the client
reconnects then.  When the queue is deleted, an event `deleted` says so before the stream ends.
"""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import hdrs, web

from streams.errors import Unavailable
from streams.folds.tables import QUEUES
from streams.gateway.cluster.partition_router import PartitionRouter
from streams.gateway.cluster.proxy import ACCEL_BUFFERING, LAST_EVENT_ID, WRITE_SECONDS
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError, unavailable
from streams.gateway.http.fields import MAX_LONG
from streams.gateway.http.paths import integer
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import Shown, page
from streams.gateway.reads.long_polls import LongPolls
from streams.gateway.reads.readers import Readers
from streams.gateway.reads.seqs import Seqs

HEARTBEAT_SECONDS = 10.0
RETRY_MILLISECONDS = 1000
PAGE_MESSAGES = 64
PAGE_BYTES = 64 * 1024

_HEADERS = {
    **COMMON_HEADERS,
    hdrs.CONTENT_TYPE: "text/event-stream",
    # A proxy must pass events on as they come: neither collect, nor compress, nor store them.
    hdrs.CACHE_CONTROL: "no-cache, no-transform",
    ACCEL_BUFFERING: "no",
}


class QueueEventRoutes(Routes):
    """The handler for a queue's server-sent events."""

    def __init__(
        self, router: PartitionRouter, long_polls: LongPolls, readers: Readers, seqs: Seqs
    ) -> None:
        self._seqs = seqs
        self._router = router
        self._long_polls = long_polls
        self._readers = readers

    async def events(self, context: RequestContext) -> web.StreamResponse:
        """Send the messages of a queue after a seq, then new ones as they arrive."""
        queue = context.id("queue")
        after = _start(context)

        async def read(partition: Partition) -> web.StreamResponse:
            await self._seqs.check(partition.number, after, "after")
            self._router.check(partition)
            response = web.StreamResponse(headers=_HEADERS)
            if context.request.method != hdrs.METH_HEAD:
                await self._send_all(context, partition, response, queue, after)
            return response

        return await self._router.read(context.proxied, QUEUES, queue, read)

    async def _send_all(
        self,
        context: RequestContext,
        partition: Partition,
        response: web.StreamResponse,
        queue: str,
        after: int,
    ) -> None:
        key, request, clock = queue.encode(), context.request, asyncio.get_running_loop().time
        if request.transport is None:
            raise unavailable("the client has disconnected")
        await response.prepare(request)
        await _write(request, response, f"retry: {RETRY_MILLISECONDS}\n\n".encode())
        with self._readers.reading(key) as reader:
            try:
                while context.principal.seconds_left:
                    self._router.check(partition)
                    if reader.deleted:
                        await _write(request, response, _deleted(queue))
                        return
                    read = page(partition.rows, queue, after, PAGE_MESSAGES, PAGE_BYTES)
                    found, after = read.found, read.last
                    if found:
                        await _write(request, response, b"".join(map(_event, found)))
                    if read.more:
                        # Let other tasks run: writing to a client that reads fast never waits.
                        await asyncio.sleep(0)
                        continue
                    self._router.check(partition)
                    began = clock()
                    if not found:
                        await self._long_polls.wait(key, partition, HEARTBEAT_SECONDS)
                        if clock() - began >= HEARTBEAT_SECONDS:
                            await _write(request, response, b":\n\n")
            except Unavailable:
                pass
            except HTTPError as error:
                if error.status != 503:
                    raise

    ROUTES = (HTTPRoute("GET", "/v1/queues/{queue}/events", events),)


def _start(context: RequestContext) -> int:
    """Return the seq to start after: that of the last event if the client reconnects."""
    parameters = context.parameters("after")
    last = context.request.headers.get(LAST_EVENT_ID)
    if not last:
        return integer(parameters, "after", 0, 0, MAX_LONG)
    try:
        return integer({"id": last.strip()}, "id", 0, 0, MAX_LONG)
    except HTTPError:
        raise HTTPError(400, "bad_header", f"{LAST_EVENT_ID} must be a seq") from None


def _event(delivery: Shown) -> bytes:
    return b"id: %d\nevent: message\ndata: {%b}\n\n" % delivery


def _deleted(queue: str) -> bytes:
    return b"event: deleted\ndata: %b\n\n" % orjson.dumps({"queue": queue})


async def _write(request: web.BaseRequest, response: web.StreamResponse, content: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(content)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read its events") from None
