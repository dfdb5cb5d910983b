"""A client of the HTTP gateway for commands: retries what may be retried, errors in words.

Any worker answers for the whole cluster, so requests go round all those that are known.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from streams.errors import StreamsError, Unavailable
from streams.settings import Settings

RETRY_SECONDS = 30.0
"""How long a request is repeated while workers say "not now" or do not answer."""
PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
REQUEST_SECONDS = 15.0


class Refused(StreamsError):
    """The gateway answered with an error that trying again does not cure."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the HTTP status with the message."""
        super().__init__(message)
        self.status = status


class Gateway:
    """The gateways of one system, by their base URLs; an async context manager."""

    def __init__(self, urls: Sequence[str], settings: Settings | None = None) -> None:
        """Use these workers, one after the other; each URL without a last slash.

        `settings` say the token to show, and whose certificates to trust.
        """
        self.urls = list(urls)
        self._headers = {}
        self._tls: ssl.SSLContext | bool = True
        if settings is not None:
            if settings.token:
                self._headers["Authorization"] = f"Bearer {settings.token}"
            if settings.http_tls_cafile:
                self._tls = settings.http_client_tls()
        self._turns = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Gateway:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the client."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        url: str | None = None,
        wait: float = 0.0,
        retry_for: float = RETRY_SECONDS,
    ) -> Any:
        """Send a request and return the JSON of the answer, None for an empty one.

        `url` names the worker, otherwise they take turns; `wait` is how long the answer may
        be held back on purpose.

        Raises:
            Refused: the request is wrong, or there is no such thing (status 4xx).
            Unavailable: no worker could answer within `retry_for` seconds.
        """
        payload = None if body is None else orjson.dumps(body)
        content = await self._send(method, path, payload, url, wait, retry_for)
        return orjson.loads(content) if content else None

    async def text(self, path: str, *, url: str, retry_for: float = RETRY_SECONDS) -> str:
        """Return an answer that is not JSON; raises as `ask`."""
        content = await self._send("GET", path, None, url, 0.0, retry_for)
        return content.decode()

    async def _send(
        self,
        method: str,
        path: str,
        payload: bytes | None,
        url: str | None,
        wait: float,
        retry_for: float,
    ) -> bytes:
        assert self._session is not None
        deadline = asyncio.get_running_loop().time() + retry_for
        pause = PAUSE_SECONDS
        timeout = aiohttp.ClientTimeout(total=wait + REQUEST_SECONDS, sock_connect=5)
        while True:
            base = url or self.urls[next(self._turns) % len(self.urls)]
            try:
                async with self._session.request(
                    method,
                    base + path,
                    data=payload,
                    headers={"Content-Type": "application/json"} if payload else None,
                    timeout=timeout,
                ) as answer:
                    content = await answer.read()
                    if answer.status < 400:
                        return content
                    reason = _reason(answer.status, content)
                    if answer.status not in (429, 502, 503, 504):
                        raise Refused(answer.status, reason)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = no_worker(base, error)
            if asyncio.get_running_loop().time() + pause > deadline:
                raise Unavailable(reason)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


def no_worker(url: str, error: BaseException) -> str:
    """Say that no worker answers at `url`, and what to do."""
    what = "does not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
    return (
        f"the worker at {url} {what}; start one with `streams worker`, "
        "or set STREAMS_HTTP_HOST and STREAMS_HTTP_PORT to where one runs"
    )


def path(*segments: str | int) -> str:
    """Return a path of segments, ids percent-encoded: `path("v1", "groups", "a/b")`.

    Raises:
        StreamsError: one of them cannot be written as UTF-8.
    """
    try:
        return "".join("/" + quote(str(segment), safe="") for segment in segments)
    except UnicodeEncodeError:
        raise StreamsError("an id is not valid UTF-8") from None


def _reason(status: int, content: bytes) -> str:
    try:
        return str(orjson.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {status}"
