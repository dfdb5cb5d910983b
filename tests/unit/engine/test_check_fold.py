"""The test kit for folds: a correct fold passes, and each kind of wrong fold is caught."""

from __future__ import annotations

import runpy
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streams.engine.testing import MemoryRows, check_fold, fold_all, records
from streams.fold import BadRecord, Fold, Output, Record, Rows

EXAMPLE = Path(__file__).parents[3] / "examples" / "word_count.py"
LOG = records(*((key, b"v%d" % n) for n, key in enumerate([b"a", b"b", b"a", b"c", b"a", b"b"])))


class Totals:
    """Counts keys and outputs each new count; correct, unlike its subclasses."""

    may_wait = False

    def __init__(self, rows: Rows, partition: int) -> None:
        self.rows = rows
        self.ready: list[Output] = []
        self.work: deque[Iterator[None]] = deque()

    def apply(self, record: Record) -> Iterator[None] | None:
        if not record.value:
            raise BadRecord("no value")
        key = record.key or b""
        total = self.total(key) + 1
        self.rows.put(b"t", key, b"%d" % total)
        self.say(key, b"%d" % total)
        return None

    def total(self, key: bytes) -> int:
        return int(self.rows.get(b"t", key) or 0)

    def say(self, key: bytes, text: bytes) -> None:
        self.ready.append(Output("totals", 0, key, text, "Total"))

    def flush(self) -> None:
        pass


class KeepsStateInMemory(Totals):
    def __init__(self, rows: Rows, partition: int) -> None:
        super().__init__(rows, partition)
        self.seen: dict[bytes, int] = {}

    def total(self, key: bytes) -> int:
        self.seen[key] = self.seen.get(key, -1) + 1
        return self.seen[key]


class KeepsStateInTheClass(Totals):
    numbers = count()

    def say(self, key: bytes, text: bytes) -> None:
        super().say(key, b"%s, number %d" % (text, next(self.numbers)))


class SaysOnceAChunk(Totals):
    def __init__(self, rows: Rows, partition: int) -> None:
        super().__init__(rows, partition)
        self.said = 0

    def say(self, key: bytes, text: bytes) -> None:
        self.said += 1

    def flush(self) -> None:
        if self.said:
            self.ready.append(Output("totals", 0, b"", b"%d" % self.said, "Total"))
        self.said = 0


class ChangesRowsBeforeItRefuses(Totals):
    def apply(self, record: Record) -> Iterator[None] | None:
        self.rows.put(b"last", b"", record.key or b"")
        return super().apply(record)


def test_a_correct_fold_passes_and_its_results_are_returned() -> None:
    found = check_fold(Totals, LOG)

    assert found.rows == {b"t\0a": b"3", b"t\0b": b"2", b"t\0c": b"1"}
    assert [output.value for output in found.outputs] == [b"1", b"1", b"2", b"1", b"3", b"2"]
    assert found.bad == []
    assert found == fold_all(Totals, LOG)


@pytest.mark.parametrize(
    ("wrong", "difference"),
    [
        (KeepsStateInMemory, r"offsets 2 to 2 after a crash: row b't\\x00a' is b'1'.*b'2'"),
        (KeepsStateInTheClass, "outputs are .*number 6"),
        (SaysOnceAChunk, "offsets 0 to 1 after a crash: outputs are"),
    ],
)
def test_a_fold_that_depends_on_more_than_rows_and_records_is_caught(
    wrong: type[Totals], difference: str
) -> None:
    with pytest.raises(AssertionError, match=difference):
        check_fold(wrong, LOG)


def test_a_bad_record_must_leave_no_trace() -> None:
    log = records((b"a", b"1"), (b"b", None), (b"a", b"2"))

    assert check_fold(Totals, log).bad == [(1, "no value")]
    with pytest.raises(AssertionError, match=r"BadRecord at offset 1: row b'last.*is b'b'"):
        check_fold(ChangesRowsBeforeItRefuses, log)


def test_packed_outputs_are_compared_by_what_they_say() -> None:
    check_fold(
        SaysOnceAChunk, LOG, unpack=lambda outputs: sum(int(output.value) for output in outputs)
    )


def test_work_for_later_is_done_before_rows_are_compared() -> None:
    class Later(Totals):
        def say(self, key: bytes, text: bytes) -> None:
            def steps() -> Iterator[None]:
                yield
                self.ready.append(Output("totals", 0, key, text, "Total"))

            self.work.append(steps())

    assert len(check_fold(Later, LOG).outputs) == len(LOG)


def test_the_word_count_of_the_examples_is_correct() -> None:
    example: dict[str, Any] = runpy.run_path(str(EXAMPLE))
    fold: type[Fold] = example["WordCount"]

    found = check_fold(fold, LOG)

    assert found.rows == {b"words\0a": b"3", b"words\0b": b"2", b"words\0c": b"1"}


def test_a_copy_of_rows_is_apart_from_them() -> None:
    rows = MemoryRows()
    rows.put(b"b", b"s", b"1")
    twin = rows.copy()
    twin.put(b"b", b"s", b"2")

    assert rows.get(b"b", b"s") == b"1"
    assert len(twin) == 1
