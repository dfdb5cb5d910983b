"""Rows in memory keep to the protocol."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.testing import MemoryRows
from streams.fold import Rows

suffixes = st.binary(max_size=3)


@given(st.dictionaries(suffixes, st.binary(max_size=2)), st.none() | suffixes)
def test_a_scan_is_ordered_and_strictly_after(
    content: dict[bytes, bytes], after: bytes | None
) -> None:
    rows: Rows = MemoryRows()
    for suffix, value in content.items():
        rows.put(b"b", suffix, value)
        rows.put(b"bb", suffix, value)
    found = list(rows.scan(b"b", after))
    assert found == sorted(row for row in content.items() if after is None or row[0] > after)


def test_a_scan_sees_the_rows_as_they_were_when_it_began() -> None:
    # Given a scan under way
    rows = MemoryRows()
    for suffix in (b"1", b"2", b"3"):
        rows.put(b"b", suffix, b"old")
    scan = rows.scan(b"b")
    assert next(scan) == (b"1", b"old")
    # When rows are changed, removed and added
    rows.put(b"b", b"2", b"new")
    rows.delete(b"b", b"3")
    rows.put(b"b", b"4", b"new")
    # Then it goes on as if they were not
    assert list(scan) == [(b"2", b"old"), (b"3", b"old")]
    assert list(rows.scan(b"b")) == [(b"1", b"old"), (b"2", b"new"), (b"4", b"new")]


def test_items_are_in_the_order_of_raw_keys() -> None:
    rows = MemoryRows()
    rows.put(b"ab", b"", b"2")
    rows.put(b"a", b"\xff", b"1")
    rows.put(b"a\x01", b"z", b"3")
    assert list(rows.items()) == [(b"a\0\xff", b"1"), (b"a\x01\0z", b"3"), (b"ab\0", b"2")]
    assert len(rows) == 3


def test_a_copy_is_apart() -> None:
    rows = MemoryRows()
    rows.put(b"b", b"1", b"x")
    twin = rows.copy()
    rows.delete(b"b", b"1")
    rows.delete(b"b", b"1")
    assert twin.get(b"b", b"1") == b"x"
    assert len(rows) == 0
