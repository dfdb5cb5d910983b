"""The permissions in a token, and checks against them.

The claim `streams` of a token is an object with any of these members.  Whatever it does not
grant is refused; an unknown member or value makes the whole token invalid.

============= ======================================================================
`namespace`   STREAMS_NAMESPACE of the workers that accept the token; empty by default
`publish`     patterns of groups, and with `@` of queues, that messages may be sent to
`bind`        patterns of groups that queues may be bound to and unbound from; with `@`,
              of queues that may be bound, in addition to those in `read`
`read`        with `@`, patterns of the principal's own queues, which it may read from,
              acknowledge and open sessions for; without, of groups whose members and
              history may be read
`observe`     true: may read the state of the cluster and metrics
`admin`       true: may do everything
`rate`        events per second, instead of STREAMS_RATE_LIMIT_PER_SECOND; 0 for no limit
============= ======================================================================

Knows nothing of signatures or requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.errors import BadToken, Forbidden
from streams.ids import direct_group, problem
from streams.security.patterns import Patterns

CLAIM: Final = "streams"
LEEWAY_SECONDS: Final = 10.0
"""Tolerated clock difference between the issuer of a token and a worker."""
LATEST_SECONDS: Final = 253_402_300_799
"""The end of the year 9999; a time in milliseconds is greater."""

_NO_PATTERNS: Final = Patterns()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the principal of one token may do; by default nothing.

    Each `check_` method raises `Forbidden` with the missing permission.
    """

    subject: str | None = None
    """Claim `sub`: the only sender that the principal may name, unless it is an admin."""
    publish: Patterns = _NO_PATTERNS
    bind: Patterns = _NO_PATTERNS
    read: Patterns = _NO_PATTERNS
    observe: bool = False
    admin: bool = False
    rate: float | None = None
    """Events per second; 0 for no limit, None for STREAMS_RATE_LIMIT_PER_SECOND."""
    expires_at: float = math.inf
    """Claim `exp` plus the leeway, in seconds since 1970."""
    token_id: str | None = None
    """Claim `jti`."""
    issued_at: float | None = None
    """Claim `iat`, in seconds since 1970."""

    def check_publish(self, destination: str) -> None:
        """Check that messages may be sent to a group, or to a queue (`@` and its id)."""
        if not (self.admin or self.publish.match(destination)):
            raise Forbidden(f"the token does not grant publish to {destination!r}")

    def check_group(self, group: str) -> None:
        """Check that queues may be bound to the group."""
        if not (self.admin or self.bind.match(group)):
            raise Forbidden(f"the token does not grant bind on the group {group!r}")

    def check_binding(self, group: str, queue: str) -> None:
        """Check that this queue may be bound to the group and unbound from it."""
        self.check_group(group)
        own = direct_group(queue)
        if not (self.admin or self.read.match(own) or self.bind.match(own)):
            raise Forbidden(f"the token grants neither read nor bind on {own!r}")

    def check_read(self, destination: str) -> None:
        """Check that a group may be read, or that the queue after an `@` is the principal's own."""
        if not (self.admin or self.read.match(destination)):
            raise Forbidden(f"the token does not grant read on {destination!r}")

    def check_queue(self, queue: str) -> None:
        """Check that the queue is the principal's own."""
        self.check_read(direct_group(queue))

    def check_observe(self) -> None:
        """Check that the state of the cluster may be read."""
        if not (self.admin or self.observe):
            raise Forbidden("the token grants neither observe nor admin")

    def check_admin(self) -> None:
        """Check that everything is allowed."""
        if not self.admin:
            raise Forbidden("the token does not grant admin")

    def sender(self, asked: str | None) -> str:
        """Return the sender of a message whose client requested the sender `asked`.

        A principal with a subject sends under that name, also by default.  Without a subject,
        the sender must be a queue of the principal's own, since replies go there.

        Raises:
            Forbidden: the client may not send under that name.
        """
        if asked is None or asked == self.subject:
            return self.subject or ""
        if self.subject is not None and not self.admin:
            raise Forbidden("the sender must be the subject of the token")
        if not (self.admin or self.read.match(direct_group(asked))):
            raise Forbidden("the sender must be a queue that the token grants read on")
        return asked


ALL: Final = Permissions(admin=True)
"""Permissions of every client when authentication is off."""
NOTHING: Final = Permissions()


def permissions_of(claims: Mapping[str, Any], namespace: str) -> Permissions:
    """Return the permissions that a verified token grants on workers of `namespace`.

    Raises:
        BadToken: the claims are malformed, or for another namespace.
    """
    given = claims.get(CLAIM)
    if not isinstance(given, dict):
        raise BadToken(f"the claim {CLAIM!r} is missing or not an object")
    asked = dict(given)
    if asked.pop("namespace", "") != namespace:
        raise BadToken("the token is for another namespace")
    permissions = Permissions(
        subject=_subject(claims),
        publish=_patterns(asked, "publish"),
        bind=_patterns(asked, "bind"),
        read=_patterns(asked, "read"),
        observe=_flag(asked, "observe"),
        admin=_flag(asked, "admin"),
        rate=_rate(asked),
        expires_at=_seconds(claims["exp"], "exp") + LEEWAY_SECONDS,
        token_id=_token_id(claims),
        issued_at=None if claims.get("iat") is None else _seconds(claims["iat"], "iat"),
    )
    if asked:
        raise BadToken(f"the claim {CLAIM!r} has unknown members")
    return permissions


def _seconds(value: Any, claim: str) -> float:
    """Return a time of a token; refuse milliseconds, by which a token would never expire."""
    at = float(value)
    if not at <= LATEST_SECONDS:
        raise BadToken(f"the claim {claim!r} must be in seconds since 1970, not milliseconds")
    return at


def _subject(claims: Mapping[str, Any]) -> str | None:
    subject = claims.get("sub")
    if subject is None:
        return None
    if not isinstance(subject, str) or problem(subject):
        raise BadToken("the claim 'sub' must be a valid id")
    return subject


def _token_id(claims: Mapping[str, Any]) -> str | None:
    token_id = claims.get("jti")
    if token_id is not None and not isinstance(token_id, str):
        raise BadToken("the claim 'jti' must be a string")
    return token_id


def _patterns(asked: dict[str, Any], name: str) -> Patterns:
    value = asked.pop(name, [])
    if not isinstance(value, list) or not all(isinstance(p, str) and p for p in value):
        raise BadToken(f"{name!r} in the claim {CLAIM!r} must be a list of patterns")
    return Patterns(value)


def _flag(asked: dict[str, Any], name: str) -> bool:
    value = asked.pop(name, False)
    if not isinstance(value, bool):
        raise BadToken(f"{name!r} in the claim {CLAIM!r} must be true or false")
    return value


def _rate(asked: dict[str, Any]) -> float | None:
    value = asked.pop("rate", None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e9:
        raise BadToken(f"'rate' in the claim {CLAIM!r} must be a number from 0 to 1e9")
    return float(value)
