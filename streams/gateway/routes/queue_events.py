"""One queue as server-sent events, for a browser's EventSource or curl.

Each message is an event with the seq as its id, so that who comes back with Last-Event-ID
goes on where they were.  The stream ends when the partition moves: come back.
"""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from streams.errors import Unavailable
from streams.folds.tables import QUEUES
from streams.gateway.cluster.proxy import LAST_EVENT_ID, WRITE_SECONDS
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import HTTPError, unavailable
from streams.gateway.http.fields import MAX_LONG
from streams.gateway.http.paths import Route, integer
from streams.gateway.ports import Partition
from streams.gateway.reads.deliveries import Shown, page

HEARTBEAT_SECONDS = 10.0
RETRY_MILLISECONDS = 1000
PAGE_MESSAGES = 64
PAGE_BYTES = 64 * 1024

_HEADERS = {
    **COMMON_HEADERS,
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-cache",
}


async def events(context: RequestContext) -> web.StreamResponse:
    """Send what is in the queue after a seq, and go on with what comes into it."""
    queue = context.id("queue")
    after = _start(context)

    async def answer(partition: Partition) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        if context.request.method != hdrs.METH_HEAD:
            await _send_all(context, partition, response, queue, after)
        return response

    return await context.parts.owners.read(context, QUEUES, queue, answer)


def _start(context: RequestContext) -> int:
    """Return the seq to begin after: the last event's when the client comes back."""
    parameters = context.parameters("after")
    last = context.request.headers.get(LAST_EVENT_ID)
    if not last:
        return integer(parameters, "after", 0, 0, MAX_LONG)
    try:
        return integer({"id": last.strip()}, "id", 0, 0, MAX_LONG)
    except HTTPError:
        raise HTTPError(400, "bad_header", f"{LAST_EVENT_ID} must be a seq") from None


async def _send_all(
    context: RequestContext,
    partition: Partition,
    response: web.StreamResponse,
    queue: str,
    after: int,
) -> None:
    parts, key = context.parts, queue.encode()
    if context.request.transport is None:
        raise unavailable("the client is gone")
    await response.prepare(context.request)
    await _write(context, response, f"retry: {RETRY_MILLISECONDS}\n\n".encode())
    try:
        while context.principal.seconds_left:
            parts.owners.check(partition)
            found, more = page(partition.rows, queue, after, PAGE_MESSAGES, PAGE_BYTES)
            if found:
                after = found[-1].seq
                await _write(context, response, b"".join(map(_event, found)))
            if more:
                # A turn for the others: a client that reads fast is never waited for.
                await asyncio.sleep(0)
                continue
            parts.owners.check(partition)
            began = asyncio.get_running_loop().time()
            if not found:
                await parts.waits.wait(key, partition, HEARTBEAT_SECONDS)
                if asyncio.get_running_loop().time() - began >= HEARTBEAT_SECONDS:
                    await _write(context, response, b":\n\n")
    except Unavailable:
        pass
    except HTTPError as refusal:
        if refusal.status != 503:
            raise


def _event(delivery: Shown) -> bytes:
    return b"id: %d\nevent: message\ndata: {%b}\n\n" % delivery


async def _write(context: RequestContext, response: web.StreamResponse, content: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(content)
    except TimeoutError:
        if context.request.transport is not None:
            context.request.transport.abort()
        raise ConnectionResetError("a client does not take its events") from None


ROUTES: list[Route[Handler]] = [Route("/v1/queues/{queue}/events", {"GET": events})]
