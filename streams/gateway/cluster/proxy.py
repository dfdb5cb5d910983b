"""Handing a request on to another worker, and its answer back, both as streams.

Knows URLs and HTTP, not why the other worker is the one to ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs, web
from yarl import URL

from streams.errors import Unavailable
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.context import RequestContext
from streams.gateway.metrics.registry import Metrics
from streams.settings import Settings

logger = logging.getLogger(__name__)

FORWARDED = "Streams-Forwarded"
"""Set on a request that one worker hands on to another; such a one is not handed on again."""

READ_AFTER = "Streams-Read-After"
"""Offset of the source topic that the answer should be beyond, if that is soon."""

CONNECT_SECONDS = 2.0
STREAM_CONNECT_SECONDS = 5.0
STREAM_HEARTBEAT_SECONDS = 10.0
"""Silence after which the other worker is asked whether it lives; half of it to answer."""
STREAM_FRAME_BYTES = 8 * 1024 * 1024
"""Longest frame that another worker may send: a delivery with the largest body, escaped."""
ANSWER_SECONDS = 20.0
"""Longest silence of the other worker, besides what it is asked to wait."""
WRITE_SECONDS = 60.0
"""How long a client may take to make room for the next piece of its answer."""

LAST_EVENT_ID = "Last-Event-ID"

_REQUEST_HEADERS = (
    LAST_EVENT_ID,
    hdrs.ACCEPT,
    hdrs.AUTHORIZATION,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_TYPE,
    hdrs.USER_AGENT,
)
_ANSWER_HEADERS = (
    hdrs.ALLOW,
    hdrs.CACHE_CONTROL,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TYPE,
    hdrs.RETRY_AFTER,
    hdrs.WWW_AUTHENTICATE,
)


class Proxy:
    """The connections of this worker to the gateways of the others."""

    def __init__(self, own_url: Callable[[], str], metrics: Metrics, settings: Settings) -> None:
        self._own_url = own_url
        self._settings = settings
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    @property
    def own_url(self) -> str:
        """Base URL of this worker."""
        return self._own_url()

    def is_self(self, owner: str) -> bool:
        """Tell whether `owner` is the base URL of this worker."""
        return URL(owner) == URL(self._own_url())

    async def open(self) -> None:
        """Get ready to forward."""
        self._session = aiohttp.ClientSession(
            # Unlimited: each connection serves one of ours, and these are limited.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._settings.http_client_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close all connections; requests that wait for an answer end with `Unavailable`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def forward(
        self, context: RequestContext, owner: str, read_after: int, wait: float
    ) -> web.StreamResponse:
        """Answer with what the worker at `owner` answers, which may hold it back for `wait` s.

        Raises:
            Unavailable: it cannot be reached, or gave no answer.
        """
        if self._session is None:
            raise Unavailable("this worker is stopping")
        request = context.request
        headers = _chosen(_REQUEST_HEADERS, request.headers)
        headers[FORWARDED] = "1"
        if read_after >= 0:
            headers[READ_AFTER] = str(read_after)
        query = f"?{context.raw_query}" if context.raw_query else ""
        raw = (owner.rstrip("/") + context.raw_path + query).encode("utf-8", "surrogateescape")
        try:
            upstream = await self._session.request(
                request.method,
                URL(_escaped(raw), encoded=True),
                headers=headers,
                data=request.content.iter_any() if request.body_exists else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=wait + ANSWER_SECONDS
                ),
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._metrics.forwarded.labels("failed").inc()
            logger.info("no answer from the worker at %s: %s", owner, _named(error))
            raise Unavailable("the worker that owns this partition does not answer") from error
        async with upstream:
            self._metrics.forwarded.labels("answered").inc()
            return await self._relay(request, upstream)

    async def stream(self, token: str, owner: str, path: str) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket to the worker at `owner`, for a client with this token, if any.

        Raises:
            Unavailable: it cannot be reached, or refuses.
        """
        if self._session is None:
            raise Unavailable("this worker is stopping")
        headers = {FORWARDED: "1"}
        if token:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
        try:
            async with asyncio.timeout(STREAM_CONNECT_SECONDS):
                return await self._session.ws_connect(
                    owner.rstrip("/") + path,
                    headers=headers,
                    heartbeat=STREAM_HEARTBEAT_SECONDS,
                    max_msg_size=STREAM_FRAME_BYTES,
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logger.info("no stream from the worker at %s: %s", owner, _named(error))
            raise Unavailable("the worker that owns this partition does not answer") from error

    async def ask(self, owner: str, path: str, token: str, seconds: float) -> dict[str, Any]:
        """Return the JSON object that the worker at `owner` answers a GET with.

        Raises:
            Unavailable: it gave no such answer within `seconds`.
        """
        if self._session is None:
            raise Unavailable("this worker is stopping")
        headers = {FORWARDED: "1"}
        if token:
            headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
        try:
            async with self._session.get(
                owner.rstrip("/") + path,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as answer:
                content = orjson.loads(await answer.read())
                if answer.status != 200 or not isinstance(content, dict):
                    raise Unavailable(f"it answers with status {answer.status}")
                return content
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            logger.debug("no answer from the worker at %s: %s", owner, _named(error))
            raise Unavailable("it does not answer") from error

    async def _relay(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        answer = web.StreamResponse(
            status=upstream.status,
            headers={**_chosen(_ANSWER_HEADERS, upstream.headers), **COMMON_HEADERS},
        )
        await answer.prepare(request)
        try:
            async for piece in upstream.content.iter_any():
                async with asyncio.timeout(WRITE_SECONDS):
                    await answer.write(piece)
            async with asyncio.timeout(WRITE_SECONDS):
                await answer.write_eof()
        except (aiohttp.ClientError, TimeoutError) as error:
            # The head is out already: only a broken connection can say that the rest is missing.
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("an answer broke off on its way") from error
        return answer


def _named(error: BaseException) -> str:
    """Return the text of an error; its repr may hold the request's headers, and so a token."""
    return f"{type(error).__name__}: {error}"


def _chosen(names: tuple[str, ...], headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _escaped(raw: bytes) -> str:
    """Percent-encode bytes outside ASCII and leave the rest as it is."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in raw)
