"""`streams import`: fills an empty namespace with a copy that `streams export` made.

The rows go to the changelogs, from which workers restore their tables as they always do.  Until
the file has been read to its end, all partitions are marked as unfinished, and no worker uses
them.  An import that was broken off is repeated from the beginning of the same file: it writes the
same rows again.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from streams.errors import TooNew
from streams.fold import BadRecord
from streams.folds.levels import KNOWN
from streams.operate.backup import file
from streams.operate.backup.changelog_rows import ChangelogRows
from streams.operate.backup.container import BadExport, read_export
from streams.operate.backup.file import Entry
from streams.operate.backup.placing import Placing, Row
from streams.operate.backup.target import Target
from streams.operate.progress import progress, say
from streams.settings import Settings

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has brought."""

    start: dict[str, Any]
    """The first entry of the file."""
    counts: dict[str, int]
    """Entries by type."""
    rows: int
    seconds: float


def import_(settings: Settings, source: BinaryIO) -> Imported:
    """Import a file into the namespace of the settings, with their number of partitions.

    Args:
        settings: of the namespace; missing topics are created.
        source: the file; need not be seekable.

    Raises:
        BadExport: it is no export, is damaged, or was cut off.  The import is unfinished.
        NotEmpty: there is something in the namespace.
        TooNew: only a newer version can fold what is in the file.
        StreamsError: workers are running, or Kafka refuses something.
        Unavailable: Kafka does not answer.
    """
    began = time.monotonic()
    entries = read_export(source)
    _, start = next(entries)
    if start["level"] > KNOWN:
        raise TooNew(
            f"the export has level {start['level']} of the folds; this version knows levels up to"
            f" {KNOWN}: import it with a newer version"
        )
    import_id = hashlib.sha256(start["id"].encode()).digest()[:_ID_BYTES]
    placing = Placing(settings.partitions, start, import_id)
    with _placed(file.START):
        target = Target(settings, placing.first_rows())
    again = target.prepare()
    if again:
        say("this import was broken off before: it begins again, over what it has written")
    counts: Counter[str] = Counter()
    with (
        ChangelogRows(settings.librdkafka(), f"{settings.app_id}-import") as changelogs,
        progress("writing rows") as report,
    ):
        target.begin(changelogs, again=again)
        rows = target.of_topics(chain(placing.clock_rows(), _rows(placing, entries, counts)))
        written = changelogs.write_all(rows, report)
        target.check_sources()
        target.finish(changelogs)
    return Imported(start, dict(counts), written, time.monotonic() - began)


def _rows(placing: Placing, entries: Iterator[Entry], counts: Counter[str]) -> Iterator[Row]:
    for kind, values in entries:
        counts[kind] += 1
        with _placed(kind):
            yield from placing.rows(kind, values)
    yield from placing.last_rows()


@contextmanager
def _placed(kind: str) -> Iterator[None]:
    """Say what is wrong with an entry that no export has; its file is damaged, or not ours."""
    try:
        yield
    except (ArithmeticError, BadRecord, LookupError, TypeError, ValueError, struct.error) as error:
        raise BadExport(f"the export is damaged: a {kind} makes no rows: {error}") from error
