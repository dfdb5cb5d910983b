"""Single HTTP requests to workers, whose answers are checked against the contract.

`streams.client` retries and hides failures, which this suite must see.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from streams.lab.faults.evidence import Answers
from streams.operate.http_session import open_session
from streams.settings import Settings

ANSWER_SECONDS = 20.0
"""How long a client waits for an answer; after that, the outcome of its event is unknown."""

_AGAIN = (429, 503)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `status` is None if none arrived."""

    status: int | None
    content: Any = None

    @property
    def good(self) -> bool:
        """Whether the request was carried out."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether a retry is pointless: the request itself is wrong."""
        return self.status is not None and 400 <= self.status < 500 and self.status != 429


class ProbeClient:
    """Sends requests to random workers; an async context manager."""

    def __init__(self, urls: list[str], answers: Answers, seed: int, settings: Settings) -> None:
        """Prepare; `settings` give the token, and the authorities to trust."""
        self.urls = urls
        self._answers = answers
        self._settings = settings
        self._rng = random.Random(f"client {seed}")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = open_session(self._settings)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """Send one request; an answer that violates the contract is recorded as dishonest."""
        assert self._session is not None
        payload = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        try:
            async with self._session.request(
                method,
                (url or self._rng.choice(self.urls)) + path,
                data=payload,
                headers={"Content-Type": "application/json"} if payload else None,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=3),
            ) as answer:
                content = await answer.read()
                if answer.status in _AGAIN and "Retry-After" not in answer.headers:
                    self._dishonest(f"{method} {path}: {answer.status} without Retry-After")
                if answer.status >= 500 and answer.status != 503:
                    self._dishonest(f"{method} {path}: {answer.status} {content[:200]!r}")
                try:
                    return Answer(answer.status, orjson.loads(content) if content else None)
                except ValueError:
                    self._dishonest(f"{method} {path}: {answer.status}, not JSON: {content[:99]!r}")
                    return Answer(answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Answer(None)

    def _dishonest(self, text: str) -> None:
        if len(self._answers.dishonest) < 1000:
            self._answers.dishonest.append(text)
