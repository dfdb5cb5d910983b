"""Totals of this worker's work, for the cluster page.

The same numbers as on `/metrics`, summed over partitions; two readings give a rate.
"""

from __future__ import annotations

import math
from typing import Any

from streams.folds.counts import CountsByPartition
from streams.gateway.metrics.inbox_sampler import InboxSampler
from streams.gateway.metrics.registry import Metrics

_SUMS = (
    "binds",
    "unbinds",
    "messages",
    "duplicates",
    "deliveries",
    "delivered",
    "acks",
    "removed",
)


class Activity:
    """The totals of one worker."""

    def __init__(self, counts: CountsByPartition, inboxes: InboxSampler, metrics: Metrics) -> None:
        self._counts = counts
        self._inboxes = inboxes
        self._metrics = metrics

    def read(self) -> dict[str, Any]:
        """Return all current totals.

        `publish_seconds` is a cumulative histogram: pairs of an upper limit in seconds (null
        for infinity) and the number of events confirmed within it.  The inbox numbers are null
        until the first sample is complete.
        """
        every = [counts for _, _, counts in self._counts.all()]
        sums: dict[str, Any] = {name: sum(getattr(c, name) for c in every) for name in _SUMS}
        inboxes = self._inboxes.read()
        return sums | {
            "inbox_depth": sum(one.depth for one in inboxes) if inboxes else None,
            "inbox_oldest_at": min(
                (one.oldest_at for one in inboxes if one.oldest_at is not None), default=None
            ),
            "publish_seconds": [
                (None if math.isinf(limit) else limit, count)
                for limit, count in self._metrics.publish_buckets()
            ],
        }
