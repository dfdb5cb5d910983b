"""Who a request is from, as far as it says: what its token grants, and the token itself.

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
    """One client."""

    permissions: Permissions
    name: str = ""
    """The same for all tokens of one subject; empty where nobody has a name."""
    token: str = field(default="", repr=False)
    """For other workers, which check it again; never for logs."""
    revocations: Revocations | None = field(default=None, repr=False, compare=False)
    """Where it stands if the token is taken back."""

    @property
    def is_revoked(self) -> bool:
        """Whether the token has been taken back."""
        return self.revocations is not None and self.revocations.now.revokes(self.permissions)

    @property
    def seconds_left(self) -> float:
        """How long the token is good for, from now; 0 when no more."""
        if self.is_revoked:
            return 0.0
        if self.permissions.expires_at == math.inf:
            return math.inf
        return max(0.0, self.permissions.expires_at - time.time())

    def check(self) -> None:
        """See that the token has not been taken back, as it may be while a request waits.

        Raises:
            BadToken: it has.
        """
        if self.is_revoked:
            raise BadToken(REVOKED)


UNRESTRICTED: Final = Principal(ALL)
"""Where no credentials are asked for."""
ANONYMOUS: Final = Principal(NOTHING)
"""Who has shown no token."""
