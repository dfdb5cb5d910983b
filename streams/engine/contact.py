"""Whether Kafka answers this worker.

What only makes sense with Kafka, or is only urgent with it, asks `Contact.away` and waits longer
meanwhile.  The log has one line when Kafka stops answering and one when it answers again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

AWAY_SECONDS: Final = 2.0
"""Kafka is away when requests have failed for so long; a change of leaders takes less."""
BACK_OFF: Final = 10
"""Regular looks at partitions are this many times rarer while Kafka is away."""


class Contact:
    """Keeps since when requests fail.  Its methods are for any thread.

    Requests that count are those that every worker needs: topics at the start, the group's
    coordinator, and heartbeats.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._logged = False

    @property
    def away(self) -> bool:
        """Whether requests have failed for `AWAY_SECONDS` and none has succeeded since."""
        since = self._since
        return since is not None and self._clock() - since >= AWAY_SECONDS

    def pause(self, seconds: float) -> float:
        """Return `seconds`, or `BACK_OFF` times as many while Kafka is away."""
        return seconds * BACK_OFF if self.away else seconds

    def failed(self, reason: str) -> None:
        """Count a request that failed."""
        now = self._clock()
        if self._since is None:
            self._since = now
        elif not self._logged and now - self._since >= AWAY_SECONDS:
            self._logged = True
            logger.warning(
                "Kafka has not answered for %.0f s, trying again until it does: %s",
                now - self._since,
                reason,
            )

    def answered(self) -> None:
        """Count a request that succeeded."""
        since, self._since = self._since, None
        if since is not None and self._logged:
            self._logged = False
            logger.info("Kafka answers again, after %.0f s", self._clock() - since)
