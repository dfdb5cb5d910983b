"""Slows a client down that is over its rate limit, and tells it so.

AMQP has no way to refuse one message and ask for it again later, so a client over its limit is
not read from until it is within it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from pamqp import commands

from streams.gateway.amqp import frames
from streams.gateway.auth.authenticator import OVER_RATE_LIMIT, Authenticator
from streams.gateway.auth.principal import Principal

TELL_SECONDS: Final = 1.0
"""Waits that are shorter are not worth telling the client of."""
LONGEST_SLEEP_SECONDS: Final = 5.0


class Blocking:
    """The rate limit of one connection."""

    def __init__(
        self,
        authenticator: Authenticator,
        principal: Callable[[], Principal],
        send: Callable[[bytes], None],
        *,
        told: bool,
    ) -> None:
        """Take what charges the client, and whether it understands connection.blocked."""
        self._authenticator = authenticator
        self._principal = principal
        self._send = send
        self._told = told

    async def pace(self, events: int) -> None:
        """Charge events, and wait until the rate allows them."""
        blocked = False
        for _ in range(events):
            while wait := self._authenticator.pause(self._principal()):
                if wait > TELL_SECONDS and self._told and not blocked:
                    blocked = True
                    self._send(frames.encode(0, commands.Connection.Blocked(OVER_RATE_LIMIT)))
                await asyncio.sleep(min(wait, LONGEST_SLEEP_SECONDS))
        if blocked:
            self._send(frames.encode(0, commands.Connection.Unblocked()))
