"""The file of an export: what is read is what was written, or an error that says what is wrong."""

from __future__ import annotations

from io import BytesIO
from random import Random
from typing import Any

import fastavro
import pytest

from streams.operate.backup import file
from streams.operate.backup.container import BadExport, ExportWriter, read_export

START: dict[str, Any] = {
    "format": file.FORMAT,
    "id": "one",
    "at": 5,
    "namespace": "",
    "partitions": 1,
    "group_offsets": [3],
    "queue_offsets": [4],
    "seq_base": 1 << 33,
    "level": 1,
    "log_time": 7,
    "unnamed_until": None,
    "groups": [],
    "queues": [],
}
BINDING: dict[str, Any] = {
    "group": "g",
    "queue": "q",
    "session": None,
    "covered": ["s"],
    "patterns": ["a.*", ""],
}


def written(*entries: file.Entry, end: bool = True) -> bytes:
    out = BytesIO()
    writer = ExportWriter(out)
    for entry in entries:
        writer.write(*entry)
    if end:
        writer.close()
    else:
        writer._writer.flush()
    return out.getvalue()


def read(content: bytes) -> list[file.Entry]:
    return list(read_export(BytesIO(content)))


def test_entries_come_back() -> None:
    entries = [(file.START, START), *[(file.BINDING, BINDING)] * 3]
    assert read(written(*entries)) == entries


def test_another_program_reads_it() -> None:
    content = written((file.START, START), (file.BINDING, BINDING))
    records: list[Any] = list(fastavro.reader(BytesIO(content)))
    assert set(records[1]["entry"]) == {"crc32"}
    assert records[2]["entry"] == BINDING
    assert records[-1]["entry"]["counts"] == {"Start": 1, "Binding": 1}


@pytest.mark.parametrize("cut", [0, 1, 50, 400, -1, -20])
def test_a_file_that_was_cut_off_is_refused(cut: int) -> None:
    content = written((file.START, START), (file.BINDING, BINDING))
    with pytest.raises(BadExport):
        read(content[:cut])


def test_a_file_that_ends_between_two_blocks_is_refused() -> None:
    with pytest.raises(BadExport, match="cut off"):
        read(written((file.START, START), (file.BINDING, BINDING), end=False))


def test_the_start_is_read_before_what_follows_is_there() -> None:
    content = written((file.START, START), (file.BINDING, BINDING))
    entries = read_export(BytesIO(content[:-1]))
    assert next(entries) == (file.START, START)
    with pytest.raises(BadExport):
        list(entries)


def test_a_wrong_bit_anywhere_is_noticed() -> None:
    # Given a file with texts of which the codec keeps most as they are
    random = Random(1)
    bindings = [BINDING | {"group": f"g{random.randrange(10**9)}"} for _ in range(60)]
    content = written((file.START, START), *((file.BINDING, one) for one in bindings))
    entries = read(content)
    # When any bit of its blocks is another one, Then it is refused
    header = len(written(end=False))
    for place in range(header, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        found: list[file.Entry] = []
        try:
            found.extend(read_export(BytesIO(damaged)))
        except BadExport:
            # And nothing was read of it that is not so
            assert found == entries[: len(found)], place
        else:
            assert found == entries, place


def test_a_file_that_starts_twice_is_refused() -> None:
    with pytest.raises(BadExport, match="another one"):
        read(written((file.START, START), (file.START, START)))


def test_a_file_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(BadExport, match="no export"):
        read(b"PK\3\4 and so on")
    other = BytesIO()
    fastavro.writer(other, fastavro.parse_schema({"type": "string"}), ["a"])
    with pytest.raises(BadExport):
        read(other.getvalue())


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(BadExport, match="has format 99"):
        read(written((file.START, START | {"format": 99})))


def test_a_file_without_its_start_is_refused() -> None:
    with pytest.raises(BadExport, match="does not begin"):
        read(written((file.BINDING, BINDING)))
