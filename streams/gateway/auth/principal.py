"""Principals: the client behind a request, its permissions and its token.

Knows nothing of HTTP.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Final

from streams.errors import BadToken
from streams.gateway.auth.revocations import Revocations
from streams.security.permissions import ALL, NOTHING, Permissions

REVOKED: Final = "the token has been revoked"


@dataclass(frozen=True, slots=True)
class Principal:
    """One client, as its token describes it."""

    permissions: Permissions
    name: str = ""
    """The same for all tokens of one subject; empty without a token."""
    token: str = field(default="", repr=False)
    """Passed to other workers, which verify it again; never logged."""
    revocations: Revocations | None = field(default=None, repr=False, compare=False)
    """The list that holds the token once it is revoked."""

    @property
    def is_revoked(self) -> bool:
        """Whether the token has been revoked."""
        return self.revocations is not None and self.revocations.now.revokes(self.permissions)

    @property
    def seconds_left(self) -> float:
        """Seconds until the token expires; 0 if it has expired or been revoked."""
        if self.is_revoked:
            return 0.0
        if self.permissions.expires_at == math.inf:
            return math.inf
        return max(0.0, self.permissions.expires_at - time.time())

    def check(self) -> None:
        """Check the token again, after a wait.

        Raises:
            BadToken: the token has been revoked.
        """
        if self.is_revoked:
            raise BadToken(REVOKED)


UNRESTRICTED: Final = Principal(ALL)
"""Every client, where authentication is off."""
ANONYMOUS: Final = Principal(NOTHING)
"""A client without a token."""
