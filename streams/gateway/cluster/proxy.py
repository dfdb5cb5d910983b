"""Requests to other workers: forwarded ones, streams, and questions of this worker's own.

Forwarded bodies and responses are passed on as they arrive.  Knows URLs and HTTP, not why
the other worker is the one to ask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs, web
from yarl import URL

from streams.errors import Unavailable
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.metrics.registry import Metrics
from streams.repeats import REPEATING
from streams.settings import Settings

logger = logging.getLogger(__name__)

FORWARDED = "Streams-Forwarded"
"""Set on a request from another worker; such a request is not forwarded again."""

READ_AFTER = "Streams-Read-After"
"""Source offset that the fold should pass before it answers, if it does so soon."""

READ_AT = "Streams-Read-At"
"""Source offset that the fold must have passed; otherwise the answer is 503."""

CONNECT_SECONDS = 2.0
STREAM_CONNECT_SECONDS = 5.0
STREAM_HEARTBEAT_SECONDS = 10.0
"""Silence after which a stream pings the other worker; it has half as long to answer."""
STREAM_FRAME_BYTES = 8 * 1024 * 1024
"""Longest frame that another worker may send: a delivery with the largest body, escaped."""
RESPONSE_SECONDS = 20.0
"""Longest silence of the other worker, in addition to the wait that the client asked for."""
WRITE_SECONDS = 60.0
"""How long a client may take to accept the next piece of a response."""

LAST_EVENT_ID = "Last-Event-ID"
ACCEL_BUFFERING = "X-Accel-Buffering"
"""Tells nginx, and proxies that follow it, whether to collect a response before passing it on."""

_REQUEST_HEADERS = (
    READ_AT,
    LAST_EVENT_ID,
    hdrs.ACCEPT,
    hdrs.AUTHORIZATION,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_TYPE,
    hdrs.USER_AGENT,
)
_RESPONSE_HEADERS = (
    hdrs.ALLOW,
    hdrs.CACHE_CONTROL,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_TYPE,
    hdrs.RETRY_AFTER,
    hdrs.WWW_AUTHENTICATE,
    ACCEL_BUFFERING,
)
_FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A client's request that this worker or another one answers."""

    http: web.BaseRequest
    """Method, headers and body; the response goes to its connection."""
    target: str
    """Raw path and query."""

    @property
    def is_forwarded(self) -> bool:
        """Whether another worker has forwarded it to this one."""
        return FORWARDED in self.http.headers

    @property
    def read_after(self) -> str | None:
        """Value of the `Streams-Read-After` header."""
        return self.http.headers.get(READ_AFTER)

    @property
    def read_at(self) -> str | None:
        """Value of the `Streams-Read-At` header."""
        return self.http.headers.get(READ_AT)


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
        """Open the HTTP session."""
        self._session = aiohttp.ClientSession(
            # No limit: each connection serves a client's, and the server limits those.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._settings.http_client_tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Close all connections; pending requests fail with `Unavailable`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def forward(
        self, request: ProxiedRequest, owner: str, read_after: int, wait: float
    ) -> web.StreamResponse:
        """Forward a request to the worker at `owner`, and its response to the client.

        Args:
            request: the client's request.
            owner: base URL of the other worker.
            read_after: source offset that the response should reflect; -1 for any.
            wait: seconds that the response may be held back on purpose.

        Raises:
            Unavailable: the other worker cannot be reached, or did not answer.
        """
        http = request.http
        headers = _chosen(_REQUEST_HEADERS, http.headers)
        headers[FORWARDED] = "1"
        if read_after >= 0:
            headers[READ_AFTER] = str(read_after)
        raw = (owner.rstrip("/") + request.target).encode("utf-8", "surrogateescape")
        session = self._open_session()
        try:
            upstream = await session.request(
                http.method,
                URL(_escaped(raw), encoded=True),
                headers=headers,
                data=http.content.iter_any() if http.body_exists else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=wait + RESPONSE_SECONDS
                ),
            )
        except _FAILURES as error:
            self._metrics.forwarded.labels("failed").inc()
            raise _no_answer(owner, error) from error
        async with upstream:
            self._metrics.forwarded.labels("answered").inc()
            return await _relay(http, upstream)

    async def stream(self, token: str, owner: str, path: str) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket to the worker at `owner` for the client that sent `token`, if any.

        Raises:
            Unavailable: the other worker cannot be reached, or refuses.
        """
        session = self._open_session()
        try:
            async with asyncio.timeout(STREAM_CONNECT_SECONDS):
                return await session.ws_connect(
                    owner.rstrip("/") + path,
                    headers=_internal_headers(token),
                    heartbeat=STREAM_HEARTBEAT_SECONDS,
                    max_msg_size=STREAM_FRAME_BYTES,
                )
        except _FAILURES as error:
            raise _no_answer(owner, error) from error

    async def ask(self, owner: str, path: str, token: str, seconds: float) -> dict[str, Any]:
        """GET a JSON object from the worker at `owner`.

        Raises:
            Unavailable: it did not send one within `seconds`.
        """
        session = self._open_session()
        try:
            async with session.get(
                owner.rstrip("/") + path,
                headers=_internal_headers(token),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                content = orjson.loads(await response.read())
                if response.status != 200 or not isinstance(content, dict):
                    raise Unavailable(f"it answers with HTTP status {response.status}")
                return content
        except _FAILURES as error:
            logger.debug("no answer from the worker at %s: %s", owner, _described(error))
            raise Unavailable("it does not answer") from error

    async def ask_own(
        self,
        method: str,
        path: str,
        token: str,
        content: dict[str, Any] | None = None,
        read_at: int = -1,
    ) -> tuple[int, dict[str, Any]]:
        """Send a request of a client of another protocol to this worker's own HTTP.

        It is answered, forwarded and charged like any other.

        Args:
            method: HTTP method.
            path: path and query.
            token: the client's token; empty without authentication.
            content: JSON object to send.
            read_at: source offset that the fold must have passed; -1 for any.

        Returns:
            Status and JSON object; an empty one for a response without content.

        Raises:
            Unavailable: no answer came.
        """
        headers: dict[str, str] = {hdrs.AUTHORIZATION: f"Bearer {token}"} if token else {}
        if read_at >= 0:
            headers[READ_AT] = str(read_at)
        session = self._open_session()
        try:
            async with session.request(
                method,
                URL(self._own_url().rstrip("/") + path, encoded=True),
                headers=headers,
                json=content,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=2 * RESPONSE_SECONDS),
            ) as response:
                text = await response.read()
                found = orjson.loads(text) if text else {}
                return response.status, found if isinstance(found, dict) else {}
        except _FAILURES as error:
            raise Unavailable(f"this worker's HTTP does not answer: {_described(error)}") from error

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise Unavailable("this worker is stopping")
        return self._session


async def _relay(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=upstream.status,
        headers={**COMMON_HEADERS, **_chosen(_RESPONSE_HEADERS, upstream.headers)},
    )
    await response.prepare(request)
    try:
        async for piece in upstream.content.iter_any():
            async with asyncio.timeout(WRITE_SECONDS):
                await response.write(piece)
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write_eof()
    except (aiohttp.ClientError, TimeoutError) as error:
        # The status line is sent: only a broken connection tells the client that data is missing.
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("a forwarded response broke off") from error
    return response


def _no_answer(owner: str, error: BaseException) -> Unavailable:
    # Until the partitions have moved, each request for them meets the same.
    logger.info("no answer from the worker at %s: %s", owner, _described(error), extra=REPEATING)
    return Unavailable("the worker that owns this partition does not answer; try again")


def _internal_headers(token: str) -> dict[str, str]:
    headers = {FORWARDED: "1"}
    if token:
        headers[hdrs.AUTHORIZATION] = f"Bearer {token}"
    return headers


def _described(error: BaseException) -> str:
    """Describe an error without its repr, which may hold headers, and so a token."""
    return f"{type(error).__name__}: {error}"


def _chosen(names: tuple[str, ...], headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


def _escaped(raw: bytes) -> str:
    """Percent-encode bytes outside ASCII and leave the rest as they are."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in raw)
