"""Who may come in: tokens checked and remembered, bearers held to their rate, refusals noted.

Knows requests and their tokens; what a path needs is said in `access`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from typing import Final

from aiohttp import hdrs, web
from yarl import URL

from streams.errors import BadToken, UnknownKey
from streams.gateway.auth.access import ACCESS, anybody, token_later
from streams.gateway.auth.cross_site import CrossSiteCheck
from streams.gateway.auth.keyring import Keyring
from streams.gateway.auth.principal import ANONYMOUS, UNRESTRICTED, Principal
from streams.gateway.auth.revocations import Revocations
from streams.gateway.http.errors import HTTPError, rate_limited
from streams.security import tokens
from streams.security.limits import Limits
from streams.security.tokens import MAX_TOKEN_CHARACTERS, Rules
from streams.settings import Settings

logger = logging.getLogger(__name__)

PROTOCOL: Final = "streams.v1"
"""WebSocket subprotocol that a client offers beside its token, and that is chosen."""
TOKEN_PROTOCOL: Final = "streams.token."
"""What a token follows, as a WebSocket subprotocol: browsers can set no header there."""

MAX_REMEMBERED: Final = 10_000
"""Tokens whose check is remembered, as long as they are good."""
LONGEST_PAUSE_SECONDS: Final = 5.0
"""How long a stream is not read from at most, for a rate: it would pass for dead."""
NOTES_PER_SECOND: Final = 20.0
"""Refusals written to the log; what is over is counted."""


class Authenticator:
    """Stands at the entrance of one worker's gateway."""

    def __init__(self, settings: Settings) -> None:
        advertised = URL(settings.advertised_url).host or ""
        self._site = CrossSiteCheck(settings.http_host, advertised)
        self._keyring = Keyring(settings) if settings.authenticates else None
        self.revocations = Revocations(settings.auth_revoked)
        self._rules = Rules(settings.auth_audience, settings.auth_issuer, settings.namespace)
        self._remembered: OrderedDict[bytes, Principal] = OrderedDict()
        self._keys: tuple[object, ...] = ()
        self._limits = Limits(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._notes = Limits(NOTES_PER_SECOND, NOTES_PER_SECOND)
        self._not_noted = 0

    @property
    def authenticates(self) -> bool:
        """Whether tokens are asked for."""
        return self._keyring is not None

    async def open(self) -> None:
        """Get the keys.

        Raises:
            SettingsError: they cannot be used.
        """
        if self._keyring is not None:
            await self.revocations.open()
            await self._keyring.open()

    async def close(self) -> None:
        """Let go of what is open."""
        if self._keyring is not None:
            await self._keyring.close()
            await self.revocations.close()

    # Requests -------------------------------------------------------------------------

    async def authenticate(self, request: web.BaseRequest, method: str, template: str) -> Principal:
        """Return who a request is from, as far as its path asks for that.

        Raises:
            HTTPError: 401 no token; 403 another site's page, or a path that nobody may have;
                429 the principal's rate is used up.
            BadToken: the token is not right.
            Unavailable: tokens cannot be checked yet.
        """
        rule = ACCESS.get((method, template))
        if rule is None:
            raise HTTPError(403, "forbidden", "this path is not open to anybody")
        if self._keyring is None:
            self._site.check(request)
            return UNRESTRICTED
        if rule is anybody:
            return ANONYMOUS
        token = _token(request, protocols=rule is token_later)
        if token is None:
            if rule is token_later:
                return ANONYMOUS
            raise HTTPError(401, "unauthorized", "send Authorization: Bearer TOKEN", _challenge())
        principal = await self.verify(token)
        wait = self.charge(principal)
        if wait:
            raise rate_limited("the rate limit of this token is used up", wait)
        return principal

    async def verify(self, token: str) -> Principal:
        """Return the principal of a token that is right.

        Raises:
            BadToken: it is not.
            Unavailable: tokens cannot be checked yet.
        """
        keyring = self._keyring
        if keyring is None:
            return UNRESTRICTED
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise BadToken(f"the token is over the limit of {MAX_TOKEN_CHARACTERS} characters")
        if not token.isascii():
            raise BadToken("not a signed JSON Web Token")
        if self._keys is not keyring.keys:
            self._keys = keyring.keys
            self._remembered.clear()
        digest = hashlib.sha256(token.encode()).digest()
        found = self._remembered.get(digest)
        if found is not None and found.permissions.expires_at > time.time():
            self._remembered.move_to_end(digest)
            found.check()
            return found
        keyring.check()
        try:
            permissions = tokens.verify(token, keyring.keys, self._rules)
        except UnknownKey:
            if not await keyring.look_again():
                raise
            permissions = tokens.verify(token, keyring.keys, self._rules)
        name = (
            f"sub {permissions.subject}"
            if permissions.subject is not None
            else f"token {digest.hex()}"
        )
        principal = Principal(permissions, name, token, self.revocations)
        principal.check()
        if self._keys is keyring.keys:
            self._remembered[digest] = principal
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return principal

    def charge(self, principal: Principal, events: float = 1.0) -> float:
        """Take events from the rate limit; return 0, or the seconds to wait before retrying."""
        if not principal.name:
            return 0.0
        return self._limits.charge(
            principal.name, time.monotonic(), events, principal.permissions.rate
        )

    def add_debt(self, principal: Principal, events: int) -> None:
        """Take events from the principal's rate that came with one request."""
        if principal.name and events > 0:
            self._limits.add_debt(
                principal.name, time.monotonic(), events, principal.permissions.rate
            )

    async def pace(self, principal: Principal) -> None:
        """Take one event from the principal's rate; first wait for it, but not without end."""
        wait = self.charge(principal)
        if wait:
            await asyncio.sleep(min(wait, LONGEST_PAUSE_SECONDS))
            self.add_debt(principal, 1)

    # The log --------------------------------------------------------------------------

    def log_refusal(
        self, refusal: HTTPError, request: web.BaseRequest, template: str, principal: Principal
    ) -> None:
        """Write to the log that somebody was refused; never the token, nor the whole path."""
        if self._notes.charge("", time.monotonic(), 1.0):
            self._not_noted += 1
            return
        if self._not_noted:
            logger.info("%d more refusals before this one", self._not_noted)
            self._not_noted = 0
        logger.info(
            "refused with %d %s: %s %s from %s, %s: %s",
            refusal.status,
            refusal.code,
            request.method if request.method.isalpha() else "?",
            template,
            request.remote,
            _subject(principal),
            refusal,
        )


def _token(request: web.BaseRequest, *, protocols: bool) -> str | None:
    """Return the token that a request carries, None when it carries none.

    Raises:
        HTTPError: 401, there is something else in its place.
    """
    headers = request.headers.getall(hdrs.AUTHORIZATION, ())
    if headers:
        scheme, _, token = headers[0].strip().partition(" ")
        token = token.lstrip()
        if scheme.lower() != "bearer" or not token or " " in token or len(headers) > 1:
            raise HTTPError(
                401,
                "unauthorized",
                "Authorization must be `Bearer TOKEN`, once",
                _challenge(),
            )
        return token
    if protocols:
        offered = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        for protocol in map(str.strip, offered.split(",")):
            if protocol.startswith(TOKEN_PROTOCOL):
                return protocol.removeprefix(TOKEN_PROTOCOL)
    return None


def _challenge() -> dict[str, str]:
    return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="streams"'}


def _subject(principal: Principal) -> str:
    if principal.permissions.subject is not None:
        return f"subject {principal.permissions.subject!r}"
    return "a token without a subject" if principal.name else "no token"
