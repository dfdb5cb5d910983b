"""The client's token: fixed, or from a function that is called for a fresh one in time.

Reads the expiry of a token if it states one; verifies nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from streams.client.errors import ClientError, Unavailable

TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function or coroutine function that returns one."""

EARLY_SECONDS = 30.0
"""How long before expiry a token is replaced; at most a third of its remaining life."""


class Credentials:
    """The token to send, replaced before it expires or when a worker rejects it."""

    def __init__(self, source: TokenSource | None) -> None:
        self._source = source
        self._token: str | None = None
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def can_be_renewed(self) -> bool:
        """Whether there is a function to call for another token."""
        return callable(self._source)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the token is due for replacement; None if it is never replaced."""
        if not callable(self._source) or self._renew_at == 0.0:
            return None
        return max(0.0, self._renew_at - time.time())

    async def token(self) -> str | None:
        """Return the token to send now; None without authentication.

        Raises:
            Unavailable: the function that returns tokens failed.
        """
        source = self._source
        if source is None or isinstance(source, str):
            return source
        async with self._lock:
            if self._token is None or self.seconds_left == 0.0:
                self._token = await _asked(source)
                now = time.time()
                ends = expiry(self._token)
                left = 0.0 if ends is None else max(1.0, ends - now)
                self._renew_at = now + left - min(EARLY_SECONDS, left / 3) if left else 0.0
            return self._token

    def forget(self, refused: str | None) -> bool:
        """Drop a token that was rejected; return whether another one can be requested."""
        if not self.can_be_renewed:
            return False
        if self._token == refused:
            self._token = None
        return True


def expiry(token: str) -> float | None:
    """Return the expiry of a JSON Web Token in seconds since 1970; None if it states none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


async def _asked(source: Callable[[], str | Awaitable[str]]) -> str:
    try:
        answer = source()
        return answer if isinstance(answer, str) else await answer
    except ClientError:
        raise
    except Exception as error:
        raise Unavailable(f"the token function failed: {type(error).__name__}") from error
