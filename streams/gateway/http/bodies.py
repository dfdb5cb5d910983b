"""Reads request bodies, within limits of size and time, and parses them as JSON.

`fields` checks the fields.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import hdrs, web

from streams.gateway.http.errors import HTTPError, bad_request
from streams.gateway.writes.admission import Share

BODY_SECONDS = 30.0
"""How long a body may take to arrive."""


async def chunks_of(request: web.BaseRequest, limit: int, share: Share) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, at most `limit` bytes in all.

    Raises:
        HTTPError: 413 if over the limit, 415 if compressed, 408 if too slow, 429 if the publish
            budget is used up, 400 if incomplete.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HTTPError(415, "compressed", "send the body uncompressed, without Content-Encoding")
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    if request.headers.get(hdrs.EXPECT, "").strip().lower() == "100-continue":
        # aiohttp's low-level server leaves this to the handler; curl waits a second for it.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    total = 0
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    while chunk := await _next_chunk(request, deadline):
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        share.take(len(chunk))
        yield chunk
        del chunk  # only what the budget counts is kept while the next one arrives


async def _next_chunk(request: web.BaseRequest, deadline: float) -> bytes:
    content = request.content
    if content.is_eof() and content.exception() is None:  # usually the whole body is here
        return content.read_nowait()
    try:
        async with asyncio.timeout_at(deadline):
            return await request.content.readany()
    except TimeoutError:
        raise HTTPError(
            408, "too_slow", f"the body did not arrive within {BODY_SECONDS:g} seconds"
        ) from None
    except web.RequestPayloadError:
        raise bad_request("bad_body", "the body is incomplete or not well-formed HTTP") from None


async def read_body(request: web.BaseRequest, limit: int, share: Share) -> bytes:
    """Return the whole body; raises as `chunks_of`."""
    body: bytes | bytearray = b""
    async for chunk in chunks_of(request, limit, share):
        if not body:
            body = chunk  # usually the only one
        else:
            # Grows in one place: as many pieces, bodies would leave gaps between one another.
            body = bytearray(body) if isinstance(body, bytes) else body
            body += chunk
        del chunk
    return bytes(body)


async def lines_of(
    request: web.BaseRequest, limit: int, line_limit: int, share: Share
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of every line that is not blank, as the body arrives.

    Raises:
        HTTPError: as `chunks_of`; 413 also if one line is over `line_limit` bytes.
    """
    number = 0
    rest = bytearray()  # the line whose end has not arrived
    async for chunk in chunks_of(request, limit, share):
        first, *others = chunk.split(b"\n")
        rest += first
        del chunk, first
        for index, following in enumerate(others):
            number += 1
            line, rest = bytes(rest), bytearray(following)
            others[index] = b""
            if len(line) > line_limit:
                raise _too_large(line_limit, f"line {number}: ")
            if line.strip():
                yield number, line
            del line, following
        if len(rest) > line_limit:
            raise _too_large(line_limit, f"line {number + 1}: ")
    if rest.strip():
        yield number + 1, bytes(rest)


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be one JSON object.

    Raises:
        HTTPError: 400 if it is not.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request("bad_json", f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise bad_request("bad_json", "must be a JSON object")
    return content


def _too_large(limit: int, where: str = "") -> HTTPError:
    return HTTPError(413, "too_large", f"{where}over the limit of {limit} bytes")
