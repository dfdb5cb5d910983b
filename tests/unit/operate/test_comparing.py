"""`streams verify` sees every way in which rows can differ."""

from __future__ import annotations

import pytest

from streams.operate.comparing import SHOWN, Comparison, compare_rows

ROWS = [(b"bq\0g1", b""), (b"bq\0g2", b"s"), (b"bq\0g3", b"")]


def compared(live: list[tuple[bytes, bytes]], rebuilt: list[tuple[bytes, bytes]]) -> Comparison:
    result = Comparison()
    compare_rows("queues", live, rebuilt, result)
    return result


def test_equal_rows_are_equal() -> None:
    # When the same rows are on both sides
    result = compared(ROWS, ROWS)
    # Then all were looked at and none differs
    assert (result.rows, result.count) == (3, 0)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_row_on_one_side_only(lost: int) -> None:
    # Given a row that one side lacks: the first, one in between, the last
    fewer = [row for number, row in enumerate(ROWS) if number != lost]
    group = f'"g{lost + 1}"'
    # Then that row alone differs, whichever side it is
    gone, extra = compared(fewer, ROWS), compared(ROWS, fewer)
    assert (gone.rows, gone.count, extra.rows, extra.count) == (3, 1, 3, 1)
    assert "missing in the live table" in gone.differences[0]
    assert group in gone.differences[0]
    assert "does not produce" in extra.differences[0]
    assert group in extra.differences[0]


def test_another_value() -> None:
    # Given one byte that differs
    result = compared([(b"bq\0g2", b"t")], [(b"bq\0g2", b"s")])
    # Then both values are told
    (text,) = result.differences
    assert '"session": "t"' in text
    assert '"session": "s"' in text


def test_only_the_first_differences_are_told_and_all_are_counted() -> None:
    result = compared([], [(b"bq\0%04d" % number, b"") for number in range(100)])
    assert (result.count, len(result.differences)) == (100, SHOWN)
