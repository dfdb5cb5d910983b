"""The level of the folds: a number for their behaviour, which the log of a partition raises.

Folds that behave in another way write other outputs for the same records.  A worker of a new
version folds again what the former version has folded but not checkpointed, and some of the
outputs are in Kafka already.  So a new version goes on as the old one did, until a `Level` record
tells it to change: at the same offset for whoever folds it, and however often.  Kafka's feature
levels work like this.

The row of the level is in both tables, as all that folds know: bucket ``k``, no suffix, the
level in 2 bytes.  A partition without it has the level `FIRST`.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from streams.errors import TooNew
from streams.fold import BadRecord, Record, Rows
from streams.folds.row_keys import LEVEL

FIRST: Final = 1
"""The level of version 0.2, and of every new partition."""

KNOWN: int = 1
"""The highest level that this code can fold; it can fold all lower ones, too.

Raise it with each change of rows or outputs for records that logs can hold already, and keep the
former behaviour for partitions with a lower level.  If the native core is concerned, `begin_run`
must leave to Python what the core does not know.  `tests/unit/folds/test_levels.py` has a script
of records with the outputs and rows of each level."""

_number = Struct(">H")


class PartitionLevel:
    """The level of one partition."""

    __slots__ = ("_log", "_rows", "number")

    def __init__(self, rows: Rows, log: int) -> None:
        """Read the level from the rows; `log` is the number of the partition's source.

        Raises:
            TooNew: a newer version has folded the partition with a level that this one lacks.
        """
        self._rows = rows
        self._log = log
        row = rows.get(LEVEL, b"")
        self.number = FIRST if row is None else int(_number.unpack(row)[0])
        _check(self.number)

    def apply(self, record: Record, values: dict[str, Any]) -> None:
        """Fold a Level record whose key is checked already.

        Raises:
            BadRecord: it was written for another log, or is no level.
            TooNew: this program does not know the level.
        """
        level, log = values["level"], values["log"]
        if log != self._log:
            raise BadRecord(
                f"the Level names log {log}, not {self._log}: the record was copied or forged"
            )
        if not FIRST <= level < 1 << 16:
            raise BadRecord(f"level must be from {FIRST} to {(1 << 16) - 1}")
        _check(level, f" from offset {record.offset} on")
        if level > self.number:
            self.number = level
            self._rows.put(LEVEL, b"", _number.pack(level))


def _check(level: int, where: str = "") -> None:
    if level > KNOWN:
        raise TooNew(
            f"the partition has level {level} of the folds{where}; this version knows levels up "
            f"to {KNOWN}: install the version that `streams upgrade --finish` was run with"
        )
