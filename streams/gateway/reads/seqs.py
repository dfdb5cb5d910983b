"""Where a reader may start: a seq that a delivery can have had."""

from __future__ import annotations

from typing import Final

from streams.folds.packing import SEQS_PER_RECORD
from streams.gateway.http.errors import bad_request
from streams.gateway.ports import Partition

MOST_AHEAD: Final = 100_000_000
"""Records by which a seq may be ahead of what this worker has folded."""


def check_after(seq: int, partition: Partition, code: str = "bad_parameter") -> None:
    """Refuse to read after a seq that no delivery can have had, such as a time in milliseconds.

    The owner of a partition may be behind the one that sent the seq, but never that far.

    Raises:
        HTTPError: 400 with this code.
    """
    if seq // SEQS_PER_RECORD > partition.position + MOST_AHEAD:
        raise bad_request(
            code,
            f"after is {seq}, far beyond the seqs of this queue; it must be the `seq` of a "
            "delivery, not a time",
        )
