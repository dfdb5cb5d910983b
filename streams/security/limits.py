"""How often each bearer may do something: a bucket of tokens for each, refilled in time.

A bucket is charged after the fact, too: a request of many events is let in once, and then
the bearer is in debt.  Pure; the clock is handed in.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_BEARERS = 50_000
"""Bearers remembered; who was quiet longest is forgotten, and starts with a full bucket."""


class Limits:
    """The buckets of all bearers; each holds `burst` and gains `rate` a second.

    A rate of 0 is no limit.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def charge(self, principal: str, now: float, events: float, rate: float | None = None) -> float:
        """Take `events`, if there are so many; return 0, or the seconds until there are.

        `rate` is the bearer's own, instead of everybody's.
        """
        rate = self.rate if rate is None else rate
        if not rate:
            return 0.0
        left = self._left(principal, now, rate)
        missing = min(events, max(self.burst, 1.0)) - left
        if missing > 1e-9:
            self._keep(principal, left, now)
            return missing / rate
        self._keep(principal, left - events, now)
        return 0.0

    def add_debt(
        self, principal: str, now: float, events: float, rate: float | None = None
    ) -> None:
        """Take `events` in any case: they are done already."""
        rate = self.rate if rate is None else rate
        if rate:
            self._keep(principal, self._left(principal, now, rate) - events, now)

    def _left(self, principal: str, now: float, rate: float) -> float:
        burst = max(self.burst, 1.0)
        left, before = self._buckets.get(principal, (burst, now))
        return min(burst, left + max(0.0, now - before) * rate)

    def _keep(self, principal: str, left: float, now: float) -> None:
        self._buckets[principal] = (left, now)
        self._buckets.move_to_end(principal)
        if len(self._buckets) > MAX_BEARERS:
            self._buckets.popitem(last=False)
