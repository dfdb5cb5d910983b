"""HTTP requests with retries and failover between workers.

Knows nothing of groups and queues.
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
from streams.client.errors import DELETED, ClientClosed, QueueDeleted, Refused, Unavailable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
UNAUTHORIZED = 401
_RETRYABLE = (429, 502, 503, 504)


class Backoff:
    """Pauses between retries: exponential, with jitter."""

    def __init__(self) -> None:
        self._failures = 0

    def next(self, at_least: float = 0.0) -> float:
        """Count a failure; return the pause before the next attempt, in seconds."""
        longest: float = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 30)
        return max(at_least, longest * random.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Start again after a success."""
        self._failures = 0


class Requests:
    """Sends requests to the workers of one system, given by their base URLs."""

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
        self._current = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the HTTP session."""
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
            ClientClosed: the client is not open.
        """
        if self._session is None:
            raise ClientClosed("the client is not open; use it in `async with`")
        return self._session

    @property
    def url(self) -> str:
        """Base URL of the worker to ask next."""
        return self.urls[self._current % len(self.urls)]

    def next_url(self, failed: str) -> None:
        """Switch to the next worker, if `failed` is the current one."""
        if self.url == failed:
            self._current += 1

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | float | None] | None = None,
        wait: float = 0.0,
    ) -> Any:
        """Send a request, with retries; return the decoded JSON, None for an empty response.

        Args:
            method: HTTP method.
            path: path, percent-encoded; see `path`.
            body: an object to send as JSON, or bytes to send unchanged.
            query: query parameters; those that are None are left out.
            wait: how long the worker may hold the request on purpose, in seconds.

        Raises:
            Refused: the request is invalid or not allowed.
            Unavailable: no worker answered in time; the request may have been carried out.
            ClientClosed: the client is not open.
        """
        data = body if body is None or isinstance(body, bytes) else as_json(body)
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.retry_seconds
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS + wait, sock_connect=CONNECT_SECONDS)
        backoff = Backoff()
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
                    if answer.status not in _RETRYABLE:
                        raise refusal
                    reason = str(refusal)
                    retry_after = _seconds(answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = f"the worker at {url} {_away(error)}"
            self.next_url(url)
            # With several workers, another one may serve the request at once.
            pause = backoff.next(retry_after if len(self.urls) == 1 else 0.0)
            if loop.time() + pause > deadline:
                raise Unavailable(reason)
            await asyncio.sleep(pause)


def _away(error: Exception) -> str:
    """Describe why a worker could not be reached."""
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
    """Return the headers that carry a token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def path(*segments: str) -> str:
    """Join percent-encoded segments to a path: `path("v1", "groups", "a/b")`.

    Raises:
        Refused: a segment cannot be encoded as UTF-8.
    """
    try:
        return "".join("/" + quote(segment, safe="") for segment in segments)
    except UnicodeEncodeError:
        raise Refused("bad_id", "an id is not valid UTF-8", 400) from None


def as_json(content: Mapping[str, Any]) -> bytes:
    """Return the JSON text of an object.

    Raises:
        Refused: a text in it cannot be encoded as UTF-8.
    """
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused("bad_text", "an id or another text is not valid UTF-8", 400) from None


def refused(status: int, content: bytes) -> Refused:
    """Return the error in a response with an error status."""
    try:
        error = json.loads(content)["error"]
        code, message = str(error["code"]), str(error["message"])
        return QueueDeleted(message, status) if code == DELETED else Refused(code, message, status)
    except (ValueError, KeyError, TypeError):
        return Refused("unknown", f"the worker answered with HTTP status {status}", status)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isdecimal() else 0.0
