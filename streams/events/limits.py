"""The limits of the fields of events, by name.

Generated from schemas/*.avsc by `python -m streams.events.generate`; do not edit.
"""

from __future__ import annotations

from typing import Final

CONFIGURE_OVERFLOW_VALUES: Final = ("drop_oldest", "drop_newest", "reject")
MAX_CONFIGURE_MAX_TRIES: Final = 1_000
"""Greatest value of Configure.max_tries."""
MAX_CONFIGURE_VISIBILITY_MS: Final = 43_200_000
"""Greatest value of Configure.visibility_ms."""
MAX_CONFIGURE_TTL_MS: Final = 315_360_000_000
"""Greatest value of Configure.ttl_ms."""
MAX_CONFIGURE_MESSAGE_TTL_MS: Final = 315_360_000_000
"""Greatest value of Configure.message_ttl_ms."""
MAX_CONFIGURE_DECLARED: Final = 4_096
"""Greatest length of Configure.declared."""
MAX_LEASE_LIMIT: Final = 1_000
"""Greatest value of Lease.limit."""
DEFAULT_LEASE_LIMIT: Final = 1
MAX_LEASE_VISIBILITY_MS: Final = 43_200_000
"""Greatest value of Lease.visibility_ms."""
MAX_MESSAGE_BYTES: Final = 1_048_576
"""Largest encoded Message, in bytes."""
MAX_MESSAGE_HEADERS: Final = 16_384
"""Greatest size of Message.headers, in bytes."""
MAX_MESSAGE_BODY: Final = 524_288
"""Greatest length of Message.body."""
MAX_MESSAGE_PRIORITY: Final = 9
"""Greatest value of Message.priority."""
DEFAULT_MESSAGE_PRIORITY: Final = 4
MAX_NACK_SEQS: Final = 1_000
"""Most items of Nack.seqs."""
NACK_OUTCOME_VALUES: Final = ("retry", "reject", "extend")
MAX_NACK_DELAY_MS: Final = 2_592_000_000
"""Greatest value of Nack.delay_ms."""
MAX_OPEN_TTL_MS: Final = 315_360_000_000
"""Greatest value of Open.ttl_ms."""
