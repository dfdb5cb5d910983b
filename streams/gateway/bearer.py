"""Who a request is from, as far as it says: what its token grants, and the token itself.

Knows nothing of HTTP.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Final

from streams.security.grants import ALL, NOTHING, Grant


@dataclass(frozen=True, slots=True)
class Bearer:
    """One client."""

    grant: Grant
    name: str = ""
    """The same for all tokens of one subject; empty where nobody has a name."""
    token: str = field(default="", repr=False)
    """For other workers, which check it again; never for logs."""

    @property
    def seconds_left(self) -> float:
        """How long the token is good for, from now; 0 when no more."""
        if self.grant.expires_at == math.inf:
            return math.inf
        return max(0.0, self.grant.expires_at - time.time())


EVERYBODY: Final = Bearer(ALL)
"""Where no credentials are asked for."""
NOBODY: Final = Bearer(NOTHING)
"""Who has shown no token."""
