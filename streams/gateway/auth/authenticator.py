"""Authentication of requests: verifies tokens, enforces rate limits, logs refusals.

Knows requests and their tokens; `access` says which permission a path needs.
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
"""WebSocket subprotocol that clients offer beside their token, and that the server selects."""
TOKEN_PROTOCOL: Final = "streams.token."
"""Prefix of a token sent as a subprotocol: browsers cannot set headers on a WebSocket."""

MAX_CACHED: Final = 10_000
"""Verified tokens that are cached until they expire."""
LONGEST_PAUSE_SECONDS: Final = 5.0
"""Longest pause of a stream over its rate limit; a longer one would look like a dead peer."""
OVER_RATE_LIMIT: Final = "this token is over its rate limit"
LOGGED_PER_SECOND: Final = 20.0
"""Refusals logged per second; the others are counted."""


class Authenticator:
    """Authenticates the requests of one worker."""

    def __init__(self, settings: Settings) -> None:
        advertised = URL(settings.advertised_url).host or ""
        self._cross_site = CrossSiteCheck(settings.http_host, advertised)
        self._keyring = Keyring(settings) if settings.authenticates else None
        self.revocations = Revocations(settings.auth_revoked)
        self._rules = Rules(settings.auth_audience, settings.auth_issuer, settings.namespace)
        self._cached: OrderedDict[bytes, Principal] = OrderedDict()
        self._keys: tuple[object, ...] = ()
        self._limits = Limits(settings.rate_limit_per_second, settings.rate_limit_burst)
        self._log_limits = Limits(LOGGED_PER_SECOND, LOGGED_PER_SECOND)
        self._suppressed = 0

    @property
    def authenticates(self) -> bool:
        """Whether requests need a token."""
        return self._keyring is not None

    async def open(self) -> None:
        """Load the keys and the revocation list.

        Raises:
            SettingsError: one of them is unusable.
        """
        if self._keyring is not None:
            await self.revocations.open()
            await self._keyring.open()

    async def close(self) -> None:
        """Close the keyring and the revocation list."""
        if self._keyring is not None:
            await self._keyring.close()
            await self.revocations.close()

    # Requests -------------------------------------------------------------------------

    async def authenticate(self, request: web.BaseRequest, method: str, template: str) -> Principal:
        """Return the principal of a request, as far as its path needs one.

        Raises:
            HTTPError: 401 without a token; 403 for a page of another site, or a path without
                an access rule; 429 over the rate limit.
            BadToken: the token is invalid.
            Unavailable: no keys to verify tokens with yet.
        """
        rule = ACCESS.get((method, template))
        if rule is None:
            raise HTTPError(403, "forbidden", "this path has no access rule")
        if self._keyring is None:
            self._cross_site.check(request)
            return UNRESTRICTED
        if rule is anybody:
            return ANONYMOUS
        token = _token(request, protocols=rule is token_later)
        if token is None:
            if rule is token_later:
                return ANONYMOUS
            raise HTTPError(401, "unauthorized", "send Authorization: Bearer TOKEN", _challenge())
        principal = await self.verify(token)
        self.admit(principal)
        return principal

    async def verify(self, token: str) -> Principal:
        """Verify a token and return its principal.

        Raises:
            BadToken: the token is invalid.
            Unavailable: no keys to verify tokens with yet.
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
            self._cached.clear()
        digest = hashlib.sha256(token.encode()).digest()
        found = self._cached.get(digest)
        if found is not None and found.permissions.expires_at > time.time():
            self._cached.move_to_end(digest)
            found.check()
            return found
        keyring.check()
        try:
            permissions = tokens.verify(token, keyring.keys, self._rules)
        except UnknownKey:
            if not await keyring.refresh():
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
            self._cached[digest] = principal
            if len(self._cached) > MAX_CACHED:
                self._cached.popitem(last=False)
        return principal

    def admit(self, principal: Principal, events: int = 1) -> None:
        """Charge one event, as a request or the opening of a stream is, or a few.

        Raises:
            HTTPError: 429 over the rate limit.
        """
        wait = self._charge(principal, events=events)
        if wait:
            raise rate_limited(OVER_RATE_LIMIT, wait)

    def pause(self, principal: Principal) -> float:
        """Charge one event that a request causes later on, such as another Lease.

        Returns:
            0, or the seconds until it is admitted; nothing was charged then.
        """
        return self._charge(principal)

    def charge_rest(self, principal: Principal, events: int, charged: int = 1) -> None:
        """Charge the events of a request that `admit` or `pace` has not charged.

        Call it before they are done.

        Raises:
            HTTPError: 429 if the principal is in debt for earlier requests.
        """
        if not principal.name or events <= charged:
            return
        wait = self._limits.charge_rest(
            principal.name, time.monotonic(), events - charged, principal.permissions.rate
        )
        if wait:
            raise rate_limited(OVER_RATE_LIMIT, wait)

    def owe(self, principal: Principal, events: int) -> None:
        """Charge events that a request has caused, as only its result tells."""
        if principal.name and events:
            self._limits.owe(principal.name, time.monotonic(), events, principal.permissions.rate)

    async def pace(self, principal: Principal, *, refusable: bool, events: int = 1) -> None:
        """Charge one frame of a stream before it is done, and wait until the rate allows it.

        A frame that would have to wait longer than `LONGEST_PAUSE_SECONDS` is refused after
        that pause; one that is not refusable, because it costs the worker next to nothing, is
        done then, uncharged.

        Raises:
            HTTPError: 429 if the principal is too far over its limit.
        """
        wait = self._charge(principal, LONGEST_PAUSE_SECONDS, events)
        if not wait:
            return
        await asyncio.sleep(min(wait, LONGEST_PAUSE_SECONDS))
        if wait > LONGEST_PAUSE_SECONDS and refusable:
            self.admit(principal, events)

    def _charge(self, principal: Principal, longest: float = 0.0, events: int = 1) -> float:
        """Charge events; see `Limits.charge`."""
        if not principal.name:
            return 0.0
        return self._limits.charge(
            principal.name, time.monotonic(), events, principal.permissions.rate, longest
        )

    # The log --------------------------------------------------------------------------

    def log_refusal(
        self, error: HTTPError, request: web.BaseRequest, template: str, principal: Principal
    ) -> None:
        """Log a refused request, without its token and without the ids in its path."""
        if self._log_limits.charge("", time.monotonic(), 1.0):
            self._suppressed += 1
            return
        if self._suppressed:
            logger.info("suppressed %d log lines about refused requests", self._suppressed)
            self._suppressed = 0
        logger.info(
            "refused with %d %s: %s %s from %s, %s: %s",
            error.status,
            error.code,
            request.method if request.method.isalpha() else "?",
            template,
            request.remote,
            _subject(principal),
            error,
        )


def _token(request: web.BaseRequest, *, protocols: bool) -> str | None:
    """Return the token of a request, None if it has none.

    Raises:
        HTTPError: 401 if the Authorization header is not one bearer token.
    """
    headers = request.headers.getall(hdrs.AUTHORIZATION, ())
    if headers:
        scheme, _, token = headers[0].strip().partition(" ")
        token = token.lstrip()
        if scheme.lower() != "bearer" or not token or " " in token or len(headers) > 1:
            raise HTTPError(
                401,
                "unauthorized",
                "send one Authorization header: Bearer TOKEN",
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
