"""Rate limits: a token bucket for each principal.

A bucket can also be charged afterwards: a request with many events is admitted once and then
puts its principal in debt.  Pure; the caller passes the time.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_PRINCIPALS = 50_000
"""Principals remembered.  The one idle longest is forgotten and restarts with a full bucket."""


class Limits:
    """The buckets of all principals; each holds `burst` events and gains `rate` per second.

    A rate of 0 means no limit.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def charge(self, principal: str, now: float, events: float, rate: float | None = None) -> float:
        """Take `events` if the bucket holds them; return 0, or the seconds until it will.

        `rate` replaces the common rate for this principal.
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
        """Take `events` that have already happened, even if the bucket does not hold them."""
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
        if len(self._buckets) > MAX_PRINCIPALS:
            self._buckets.popitem(last=False)
