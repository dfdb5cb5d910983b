"""HTTP requests that go round the workers until one of them answers.

What may be sent twice is sent again, within a time; knows nothing of groups and queues.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl as ssl_module
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from streams.client.credentials import Credentials
from streams.client.errors import ClientClosed, Refused, Unavailable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
UNAUTHORIZED = 401
_COME_AGAIN = (429, 502, 503, 504)


class Pauses:
    """How long to wait after each failure in a row: longer each time, never the same."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """Return the pause in seconds after one more failure."""
        longest: float = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 30)
        return max(at_least, longest * random.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Note a success."""
        self._failures = 0


class Requests:
    """The workers of one system, by their base URLs."""

    def __init__(
        self,
        urls: Sequence[str],
        credentials: Credentials,
        ssl: ssl_module.SSLContext | bool,
        retry_seconds: float,
    ) -> None:
        if not urls:
            raise ValueError("a client needs the URL of at least one worker")
        self.urls = [url.rstrip("/") for url in urls]
        self.retry_seconds = retry_seconds
        self.credentials = credentials
        self._ssl = ssl
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready."""
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": "streams-client"},
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open HTTP session.

        Raises:
            ClientClosed: there is none.
        """
        if self._session is None:
            raise ClientClosed("the client is not open; use it in `async with`")
        return self._session

    @property
    def url(self) -> str:
        """The worker whose turn it is."""
        return self.urls[self._turn % len(self.urls)]

    def next_url(self, failed: str) -> None:
        """Go on to the next worker, if `failed` is the one whose turn it is."""
        if self.url == failed:
            self._turn += 1

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | float | None] | None = None,
        wait: float = 0.0,
    ) -> Any:
        """Send a request until it is answered; return the JSON, None for an empty answer.

        `body` is an object for JSON, or bytes as they are; what is None in `query` is left out;
        `wait` is for how many seconds the answer may be held back on purpose.

        Raises:
            Refused: the request is wrong, or not allowed.
            Unavailable: no worker could do it in time; it may be done or not.
            ClientClosed: the client is not open.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.retry_seconds
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS + wait, sock_connect=CONNECT_SECONDS)
        pauses = Pauses()
        renewed = False
        while True:
            url, retry_after = self.url, 0.0
            token = await self.credentials.token()
            try:
                async with self.session.request(
                    method,
                    URL(url + target, encoded=True),
                    data=data,
                    headers=bearer(token),
                    timeout=timeout,
                ) as answer:
                    content = await answer.read()
                    if answer.status < 400:
                        return json.loads(content) if content else None
                    refusal = refused(answer.status, content)
                    if (
                        answer.status == UNAUTHORIZED
                        and not renewed
                        and self.credentials.forget(token)
                    ):
                        renewed = True
                        continue
                    if answer.status not in _COME_AGAIN:
                        raise refusal
                    reason = str(refusal)
                    retry_after = _seconds(answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"the worker at {url} {_away(error)}"
            self.next_url(url)
            # Another worker may do what this one cannot: ask it sooner.
            pause = pauses.next(retry_after if len(self.urls) == 1 else 0.0)
            if loop.time() + pause > deadline:
                raise Unavailable(reason)
            await asyncio.sleep(pause)


def _away(error: Exception) -> str:
    """Say in what way a worker is away."""
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"cannot be trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        number = cause.errno or 0
        return f"cannot be reached: {os.strerror(number) if number > 0 else cause.strerror}"
    return f"does not answer: {str(error) or type(error).__name__}"


def bearer(token: str | None) -> dict[str, str]:
    """Return the headers that show a token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def path(*segments: str) -> str:
    """Return a path of segments, ids percent-encoded: `path("v1", "groups", "a/b")`.

    Raises:
        Refused: one of them cannot be written as UTF-8.
    """
    try:
        return "".join("/" + quote(segment, safe="") for segment in segments)
    except UnicodeEncodeError:
        raise Refused("bad_id", "an id is not valid UTF-8", 400) from None


def refused(status: int, content: bytes) -> Refused:
    """Return the error that an answer with an error status says."""
    try:
        error = json.loads(content)["error"]
        return Refused(str(error["code"]), str(error["message"]), status)
    except (ValueError, KeyError, TypeError):
        return Refused("unknown", f"the answer was HTTP status {status}", status)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else 0.0
