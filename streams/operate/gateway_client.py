"""HTTP requests of operators' commands, the demo and the fault suite's checks.

`streams.client` keeps to one worker until that one fails, which suits an application.  These
callers need what it does not offer: requests spread over all workers, questions to one worker
in particular, a time limit per request, and answers that are not JSON.  Paths, headers, backoff
and errors are the client's own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from streams.client.requests import Backoff, refused
from streams.errors import Unavailable
from streams.operate.http_session import open_session
from streams.settings import Settings

RETRY_SECONDS = 30.0
"""How long a request is repeated while workers are busy or do not answer."""
REQUEST_SECONDS = 15.0
CONNECT_SECONDS = 5.0
_TRY_AGAIN = (429, 502, 503, 504)


class GatewayClient:
    """The gateways of one system, by their base URLs; an async context manager."""

    def __init__(self, urls: Sequence[str], settings: Settings | None = None) -> None:
        """Use these workers in turn; no URL ends with a slash.

        `settings` give the bearer token, and the authorities whose certificates to trust.
        """
        self.urls = list(urls)
        self._settings = settings
        self._turns = itertools.count()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GatewayClient:
        """Open the client."""
        self._session = open_session(self._settings)
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
        """Send a request; return the JSON of the answer, None if it is empty.

        `url` chooses the worker; without it, workers take turns.  `wait` is how many seconds
        the worker may hold the answer back.

        Raises:
            Refused: the request is wrong, or what it names does not exist (status 4xx).
            Unavailable: no worker answered within `retry_for` seconds.
        """
        payload = None if body is None else orjson.dumps(body)
        content = await self._send(method, path, payload, url, wait, retry_for)
        return orjson.loads(content) if content else None

    async def text(self, path: str, *, url: str, retry_for: float = RETRY_SECONDS) -> str:
        """Return an answer that is not JSON; raises the same errors as `ask`."""
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
        timeout = aiohttp.ClientTimeout(total=wait + REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        backoff = Backoff()
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
                    refusal = refused(answer.status, content)
                    if answer.status not in _TRY_AGAIN:
                        raise refusal
                    reason = str(refusal)
            except (aiohttp.ClientError, TimeoutError) as error:
                reason = no_worker(base, error)
            pause = backoff.next()
            if asyncio.get_running_loop().time() + pause > deadline:
                raise Unavailable(reason)
            await asyncio.sleep(pause)


def no_worker(url: str, error: BaseException) -> str:
    """Return a message: the worker at `url` does not answer, and what to do about it."""
    what = "does not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
    return (
        f"the worker at {url} {what}; start one with `streams worker`, "
        "or set STREAMS_HTTP_HOST and STREAMS_HTTP_PORT to the address of a running one"
    )
