"""Writes and reads the file of an export, an Avro object container; `file` says what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from fastavro import block_reader, parse_schema
from fastavro.write import Writer

from streams.errors import StreamsError
from streams.operate.backup.file import (
    END,
    FORMAT,
    KINDS,
    NAMESPACE,
    SCHEMA,
    START,
    SUM,
    Entry,
)
from streams.operate.backup.summing import SummedSource, SummedTarget

_BLOCK_BYTES: Final = 256 * 1024
_REASON_CHARACTERS: Final = 100
_PARSED: Final = parse_schema(SCHEMA)
_FULL_NAMES: Final = {kind["name"]: f"{NAMESPACE}.{kind['name']}" for kind in KINDS}
_SHORT_NAMES: Final = {full: name for name, full in _FULL_NAMES.items()}


class BadExport(StreamsError):
    """The file is no export, is damaged, or ends too early; the message says which."""


class ExportWriter:
    """Writes entries to a binary stream, which need not be seekable."""

    def __init__(self, out: BinaryIO) -> None:
        """Write the header of the container."""
        self.counts: Counter[str] = Counter()
        """Entries written so far, by type, but for Sums."""
        self._out = SummedTarget(out)
        self._writer = Writer(
            cast(BinaryIO, self._out),
            _PARSED,
            codec="deflate",
            sync_interval=_BLOCK_BYTES,
            compression_level=1,
        )
        self._summed = self._out.count

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Write one entry."""
        if self._out.count > self._summed:  # a new block begins
            self._summed = self._out.count
            self._put(SUM, {"crc32": self._out.crc32})
        self._put(kind, values)
        self.counts[kind] += 1
        if kind == START:
            self._writer.flush()  # a block of its own: whoever reads a pipe has it soon

    def close(self) -> None:
        """Write the End, in a block of its own, and flush."""
        self._writer.flush()
        self.write(END, {"counts": dict(self.counts)})
        self._writer.flush()
        self._out.flush()

    def _put(self, kind: str, values: dict[str, Any]) -> None:
        self._writer.write({"entry": (_FULL_NAMES[kind], values)})


def read_export(source: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of a file but for its End, which is checked, and Sums.

    An entry is yielded once the Sum behind its block has been checked.

    Raises:
        BadExport: it is no export of a known format, is damaged, or ends before its End.
    """
    counts: Counter[str] = Counter()
    ended = False
    for kind, values in _entries(source):
        if ended:
            raise BadExport("the export goes on after its end")
        if (kind == START) == bool(counts):
            raise BadExport("the export does not begin with its start, or has another one")
        if kind == START and values["format"] != FORMAT:
            raise BadExport(
                f"the export has format {values['format']}; this program reads {FORMAT}"
            )
        if kind == END:
            if values["counts"] != counts:
                raise BadExport("the export does not have as many entries as its end says")
            ended = True
            continue
        counts[kind] += 1
        yield kind, values
    if not ended:
        raise BadExport("the export ends too early: it was cut off")


def _entries(source: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of all blocks whose Sums are right; that of the End needs none."""
    held: list[Entry] = []
    for entries, crc32 in _blocks(source):
        if held:
            kind, values = entries[0] if entries else ("", {})
            if kind != SUM or values["crc32"] != crc32:
                raise BadExport("the export is damaged: a checksum is wrong or missing")
            yield from held
            del entries[0]
        held = entries
    if held and held[0][0] == END:
        yield from held


def _blocks(source: BinaryIO) -> Iterator[tuple[list[Entry], int]]:
    """Yield the entries of each block, and the CRC-32 of what comes before it."""
    summed, before = SummedSource(source), 0
    try:
        blocks = block_reader(
            cast(BinaryIO, summed), reader_schema=_PARSED, return_record_name=True
        )
        for block in blocks:
            entries: list[Any] = [cast(Any, record)["entry"] for record in block]
            yield [(_SHORT_NAMES[name], values) for name, values in entries], before
            before = summed.crc32
    except OSError as error:
        raise StreamsError(f"the export cannot be read: {error.strerror}") from error
    except BadExport:
        raise
    except Exception as error:  # damaged bytes can make the decoder raise anything
        reason = str(error)[:_REASON_CHARACTERS] or type(error).__name__
        raise BadExport(f"this is no export, or it is damaged: {reason}") from error
