"""Who the client is: a token as it is, or from a function that is asked for a fresh one.

Knows of a token when it expires, as far as it says that itself; checks nothing.
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
"""A token, or what returns one: a function, or a coroutine function."""

EARLY_SECONDS = 30.0
"""How long before its end a token is replaced, unless it is so short-lived that that is long."""


class Credentials:
    """The token to show, replaced before it expires or when it is refused."""

    def __init__(self, source: TokenSource | None) -> None:
        self._source = source
        self._token: str | None = None
        self._renew_at = 0.0
        self._asking = asyncio.Lock()

    @property
    def can_be_renewed(self) -> bool:
        """Whether there is somebody to ask for another token."""
        return callable(self._source)

    @property
    def seconds_left(self) -> float | None:
        """For how long the token is to be shown; None when it is not to be replaced."""
        if not callable(self._source) or self._renew_at == 0.0:
            return None
        return max(0.0, self._renew_at - time.time())

    async def token(self) -> str | None:
        """Return the token to show now; None without any.

        Raises:
            Unavailable: who was asked for one failed.
        """
        source = self._source
        if source is None or isinstance(source, str):
            return source
        async with self._asking:
            if self._token is None or self.seconds_left == 0.0:
                self._token = await _asked(source)
                now = time.time()
                ends = expiry(self._token)
                left = 0.0 if ends is None else max(1.0, ends - now)
                self._renew_at = now + left - min(EARLY_SECONDS, left / 3) if left else 0.0
            return self._token

    def forget(self, refused: str | None) -> bool:
        """Note that a token was refused; return whether there may be another one."""
        if not self.can_be_renewed:
            return False
        if self._token == refused:
            self._token = None
        return True


def expiry(token: str) -> float | None:
    """Return when a JSON Web Token expires, in seconds since the epoch; None if it says not."""
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
        raise Unavailable(f"there is no token: {type(error).__name__}") from error
