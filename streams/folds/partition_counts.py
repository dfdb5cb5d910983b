"""The numbers of partitions that a namespace has had.

`streams rescale` splits the partitions of a namespace.  Afterwards all partitions of both tables
have a row of bucket ``c`` without a suffix: the numbers of partitions, 2 bytes each, from the first
to the present one.  It keeps out workers whose settings have another number, and gives the logs
other numbers in the records of folds: what a worker that still has the former partitions sends
would reach queues that have moved, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack
from typing import Final

from streams.errors import TooNew
from streams.fold import BUCKET_SEPARATOR, Rows
from streams.folds.log_numbers import LogNumbers
from streams.folds.row_keys import PARTITIONS

PARTITIONS_KEY: Final = PARTITIONS + BUCKET_SEPARATOR
"""Raw key of the row."""


def pack_counts(counts: Sequence[int]) -> bytes:
    """Return the row, given the numbers of partitions, the present one last."""
    return b"".join(count.to_bytes(2, "big") for count in counts)


def unpack_counts(row: bytes | None) -> list[int]:
    """Return the numbers of partitions; an empty list without a row: it has had only one."""
    row = row or b""
    return list(unpack(f">{len(row) // 2}H", row))


def present_logs(rows: Rows, partitions: int, logs: LogNumbers) -> LogNumbers:
    """Return the numbers that records of the folds must name.

    Args:
        rows: of a partition.
        partitions: how many there are by the settings.
        logs: the numbers of the topics.

    Raises:
        TooNew: the namespace has another number of partitions by now.
    """
    counts = unpack_counts(rows.get(PARTITIONS, b""))
    if not counts:
        return logs
    if counts[-1] != partitions:
        raise TooNew(
            f"the namespace was rescaled to {counts[-1]} partitions, and this worker has"
            f" {partitions}: set STREAMS_PARTITIONS={counts[-1]} and start it again"
        )
    return logs.rescaled(partitions)
