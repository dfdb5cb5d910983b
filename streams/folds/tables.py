"""The names of the product's two tables."""

from __future__ import annotations

from typing import Final

MEMBERS: Final = "members"
"""The table that the fold `Route` builds from `group-events`."""
QUEUES: Final = "queues"
"""The table that the fold `Deliver` builds from `queue-events`."""
TABLES: Final = (MEMBERS, QUEUES)
