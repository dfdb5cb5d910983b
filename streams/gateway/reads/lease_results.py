"""What Leases got, from the fold to the requests that appended them.

Knows partitions, offsets and seqs; what is not asked for in time is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST: Final = 10_000


class LeaseResults:
    """The latest results of this worker's partitions."""

    def __init__(self) -> None:
        self._results: OrderedDict[tuple[int, int], list[int]] = OrderedDict()

    def note(self, partition: int, results: dict[int, list[int]]) -> None:
        """Take results of a partition: the offset of each Lease, and the seqs it got."""
        for offset, seqs in results.items():
            self._results[partition, offset] = seqs
        while len(self._results) > MOST:
            self._results.popitem(last=False)

    def take(self, partition: int, offset: int) -> list[int] | None:
        """Return what a Lease got, None when that is not known here."""
        return self._results.pop((partition, offset), None)
