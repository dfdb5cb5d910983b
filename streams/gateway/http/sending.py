"""Sends responses, in pieces that the client can take, within a budget for long ones.

A client that asks and then does not read would otherwise make a worker keep a whole page for
each of its connections.  Knows responses and bytes, nothing of routes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from streams.gateway.cluster.proxy import WRITE_SECONDS
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.responses import error_response
from streams.gateway.writes.admission import Admission

SHORT_BYTES: Final = 16 * 1024
"""A response shorter than this fits in the connection's buffer."""
PIECE_BYTES: Final = 64 * 1024
"""Bytes written at a time."""
PAGES: Final = 4
"""A page takes at most this part of what its client may have unsent."""


def page_bytes(unsent: Admission, holder: str | None, most: int) -> int:
    """Return how long a page may become now: `most` bytes, or less while much is unsent."""
    return max(0, min(most, unsent.room(holder) // PAGES))


async def send(
    request: web.BaseRequest,
    response: web.StreamResponse,
    unsent: Admission | None = None,
    holder: str | None = None,
) -> web.StreamResponse:
    """Send a response that is not prepared yet, or the rest of one that is.

    Args:
        request: what it answers.
        response: the response.
        unsent: what long responses share; None: it does not count.
        holder: the principal who is to leave something to others.

    Returns:
        what was sent: the same, or a 429 if there is no room for what can be asked for again.

    Raises:
        ConnectionResetError: the client is gone, or did not read within `WRITE_SECONDS`.
    """
    size = _size(response)
    if size is not None and size < SHORT_BYTES:  # it can be written without waiting
        await response.prepare(request)
        await response.write_eof()
        return response
    if unsent is None or not size or request.method == hdrs.METH_HEAD:
        return await _write(request, response)
    if request.method == hdrs.METH_GET:
        try:
            unsent.take(size, holder)
        except HTTPError as refusal:
            refused = error_response(refusal)
            refused.headers.update(COMMON_HEADERS)
            return await send(request, refused)
    else:  # what it tells has happened
        unsent.owe(size, holder)
    try:
        return await _write(request, response)
    finally:
        unsent.give_back(size, holder)


def _size(response: web.StreamResponse) -> int | None:
    """Return the bytes of a response's body; None if they are not all known."""
    if not isinstance(response, web.Response):
        return None
    body = response.body
    return len(body or b"") if isinstance(body, bytes | None) else None


async def _write(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            if _size(response) and request.method != hdrs.METH_HEAD:
                return await _write_pieces(request, response)
            await response.prepare(request)
            await response.write_eof()
            return response
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read its response") from None


async def _write_pieces(
    request: web.BaseRequest, response: web.StreamResponse
) -> web.StreamResponse:
    """Write a body as the client takes it: the connection would keep a second copy of it."""
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    body, whole = memoryview(response.body), web.StreamResponse(status=response.status)
    whole.headers.extend(response.headers)
    whole.content_length = len(body)
    await whole.prepare(request)
    for start in range(0, len(body), PIECE_BYTES):
        await whole.write(body[start : start + PIECE_BYTES])
    await whole.write_eof()
    return whole
