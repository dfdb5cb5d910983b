"""Rate limits: a token bucket for each principal.

A request with many events is admitted like one event; the rest of it puts its principal in debt,
and nothing more is admitted until that is paid.  Pure; the caller passes the time.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

MAX_PRINCIPALS = 50_000
"""Principals remembered.  The one idle longest is forgotten and restarts with a full bucket."""
_LOOKED_AT = 16
"""Principals looked at to forget one that is not in debt."""


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

    def charge(
        self,
        principal: str,
        now: float,
        events: float,
        rate: float | None = None,
        longest: float = 0.0,
    ) -> float:
        """Take `events` if the bucket holds them, or will within `longest` seconds.

        Args:
            principal: whose bucket.
            now: seconds of a steady clock.
            events: how many; more than a full bucket are taken from a full one.
            rate: replaces the common rate for this principal.
            longest: the longest wait that the caller accepts before it does the events.

        Returns:
            The seconds until the bucket holds them.  If that is more than `longest`, nothing
            was taken; otherwise the events are taken, and have to wait that long.
        """
        rate = self.rate if rate is None else rate
        if not rate:
            return 0.0
        left = self._left(principal, now, rate)
        missing = min(events, max(self.burst, 1.0)) - left
        wait = missing / rate if missing > 1e-9 else 0.0
        self._keep(principal, left - events if wait <= longest else left, now)
        return wait

    def charge_rest(
        self, principal: str, now: float, events: float, rate: float | None = None
    ) -> float:
        """Take the other events of an admitted request, unless its principal is in debt.

        Returns:
            0 if they were taken, which may leave a debt; otherwise the seconds until the
            present debt is paid.
        """
        rate = self.rate if rate is None else rate
        if not rate:
            return 0.0
        left = self._left(principal, now, rate)
        if left < -1e-9:
            self._keep(principal, left, now)
            return -left / rate
        self._keep(principal, left - events, now)
        return 0.0

    def owe(self, principal: str, now: float, events: float, rate: float | None = None) -> None:
        """Take events that can no longer be refused, which may leave a debt or add to one."""
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
            oldest = islice(self._buckets.items(), _LOOKED_AT)
            forgotten = next((name for name, (left, _) in oldest if left >= 0.0), None)
            if forgotten is None:
                self._buckets.popitem(last=False)
            else:
                del self._buckets[forgotten]
