"""What a token grants, and the questions that are asked of it.

The claim `streams` of a token is an object with any of these members; what is not granted is
refused, and a member or value that is not known makes the whole token invalid:

============= ======================================================================
`namespace`   STREAMS_NAMESPACE of the workers that it is for; none by default
`publish`     patterns of groups, and with `@` of queues, that messages may be sent to
`bind`        patterns of groups that queues may be bound to and unbound from; with `@`,
              of queues that may be bound besides those in `read`
`read`        with `@`, patterns of queues that are the bearer's own: to read, acknowledge,
              open sessions of; without, of groups whose members and past may be read
`observe`     true: the state of the cluster, and metrics
`admin`       true: everything
`rate`        events a second, instead of STREAMS_RATE_LIMIT_PER_SECOND; 0 is no limit
============= ======================================================================

Knows nothing of signatures and requests.
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
"""How far clocks may be apart."""

NONE: Final = Patterns()


@dataclass(frozen=True, slots=True)
class Permissions:
    """What the bearer of one token may do; by default nothing.

    Each `check_` raises `Forbidden`, with a text that says what is missing.
    """

    subject: str | None = None
    """Claim `sub`: the only sender that the bearer may name, unless an admin."""
    publish: Patterns = NONE
    bind: Patterns = NONE
    read: Patterns = NONE
    observe: bool = False
    admin: bool = False
    rate: float | None = None
    """Events a second; 0 for no limit, None for the setting."""
    expires_at: float = math.inf
    """From when on the token is refused, in seconds since 1970, the leeway included."""
    token_id: str | None = None
    """Claim `jti`."""
    issued_at: float | None = None
    """Claim `iat`, in seconds since 1970."""

    def check_publish(self, destination: str) -> None:
        """May messages be sent to a group, or to `@` and a queue?"""
        if not (self.admin or self.publish.match(destination)):
            raise Forbidden(f"the token does not grant publish to {destination!r}")

    def check_group(self, group: str) -> None:
        """May queues be bound to the group?"""
        if not (self.admin or self.bind.match(group)):
            raise Forbidden(f"the token does not grant bind on the group {group!r}")

    def check_binding(self, group: str, queue: str) -> None:
        """May this queue be bound to the group, or unbound from it?"""
        self.check_group(group)
        own = direct_group(queue)
        if not (self.admin or self.read.match(own) or self.bind.match(own)):
            raise Forbidden(f"the token grants neither read nor bind on {own!r}")

    def check_read(self, destination: str) -> None:
        """May the members of a group be read; with `@`, is the queue the bearer's own?"""
        if not (self.admin or self.read.match(destination)):
            raise Forbidden(f"the token does not grant read on {destination!r}")

    def check_queue(self, queue: str) -> None:
        """Is the queue the bearer's own?"""
        self.check_read(direct_group(queue))

    def check_observe(self) -> None:
        """May the state of the cluster be seen?"""
        if not (self.admin or self.observe):
            raise Forbidden("the token grants neither observe nor admin")

    def check_admin(self) -> None:
        """May everything be done?"""
        if not self.admin:
            raise Forbidden("the token does not grant admin")

    def sender(self, asked: str | None) -> str:
        """Return the sender of a message for which the client asked for `asked`.

        Who has a name sends under it: none given means one's own.  Without one, a sender must
        be a queue of the bearer's own: what recipients answer goes there.
        """
        if asked is None or asked == self.subject:
            return self.subject or ""
        if self.subject is not None and not self.admin:
            raise Forbidden("the sender must be the subject of the token")
        if not (self.admin or self.read.match(direct_group(asked))):
            raise Forbidden("the sender must be a queue that the token grants read on")
        return asked


ALL: Final = Permissions(admin=True)
"""For everybody, where no credentials are asked for."""
NOTHING: Final = Permissions()


def permissions_of(claims: Mapping[str, Any], namespace: str) -> Permissions:
    """Return what the claims of a verified token grant on workers of `namespace`.

    Raises:
        BadToken: the claims are malformed, or for another namespace.
    """
    given = claims.get(CLAIM)
    if not isinstance(given, dict):
        raise BadToken(f"the claim {CLAIM!r} is missing, or no object")
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
        expires_at=float(claims["exp"]) + LEEWAY_SECONDS,
        token_id=_token_id(claims),
        issued_at=None if claims.get("iat") is None else float(claims["iat"]),
    )
    if asked:
        raise BadToken(f"the claim {CLAIM!r} has members that are not known")
    return permissions


def _subject(claims: Mapping[str, Any]) -> str | None:
    subject = claims.get("sub")
    if subject is None:
        return None
    if not isinstance(subject, str) or problem(subject):
        raise BadToken("the claim 'sub' must be an id, as senders are")
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
        raise BadToken(f"'rate' in the claim {CLAIM!r} must be a number from 0")
    return float(value)
