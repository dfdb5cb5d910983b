"""The results of Leases, from the fold to the requests that appended them.

Knows partitions, offsets and seqs.  The oldest results are dropped if nobody takes them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_RESULTS: Final = 10_000


class LeaseResults:
    """The latest results of this worker's partitions."""

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[int, int], list[int]] = OrderedDict()

    def note(self, partition: int, results: dict[int, list[int]]) -> None:
        """Store results of a partition: the seqs that each Lease got, by its offset."""
        for offset, seqs in results.items():
            self._results[partition, offset] = seqs
        while len(self._results) > MAX_RESULTS:
            self._results.popitem(last=False)

    def take(self, partition: int, offset: int) -> list[int] | None:
        """Remove and return the seqs that a Lease got; None if they are not known here."""
        return self._results.pop((partition, offset), None)
