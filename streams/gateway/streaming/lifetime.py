"""How long a stream may live: as long as the client's token is valid.

Knows principals and clocks, nothing of frames.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from streams.gateway.auth.principal import ANONYMOUS, REVOKED, Principal

TOKEN_SECONDS: Final = 10.0
"""How long a client may stay connected without a token."""
_LONGEST_TIMER_SECONDS: Final = 3600.0
"""The event loop rejects timers of years, so a later expiry is checked again in between."""


class TokenLifetime:
    """Reports when the token of one stream expires or is revoked, or never arrives."""

    def __init__(self, ended: Callable[[str], None]) -> None:
        """Take what is called with the reason when the stream must end."""
        self._ended = ended
        self._principal = ANONYMOUS
        self._timer: asyncio.TimerHandle | None = None

    def start(self, principal: Principal) -> None:
        """Watch this principal's token from now on, in place of any earlier one."""
        self._principal = principal
        self.stop()
        left = TOKEN_SECONDS if principal is ANONYMOUS else principal.seconds_left
        if left != math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(left, _LONGEST_TIMER_SECONDS), self._timer_fired)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> None:
        """Report the token if it has been revoked."""
        if self._principal.is_revoked:
            self._ended(REVOKED)

    def _timer_fired(self) -> None:
        principal = self._principal
        if principal is ANONYMOUS:
            self._ended("no token came")
        elif principal.seconds_left > 0:
            self.start(principal)
        else:
            self._ended(REVOKED if principal.is_revoked else "the token has expired")
