"""When a source partition that delivers nothing is read again."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from streams.engine.engine import Engine
from streams.engine.holds import Ends
from streams.engine.progress import Progress
from streams.engine.silence import SILENT_SECONDS, Silence, SilenceWatch

ONE, OTHER = ("group-events", 0), ("queue-events", 1)
STEP = 2.0


class Clock:
    """Looks at one moment after the other."""

    def __init__(self) -> None:
        self.watch = SilenceWatch(STEP)
        self.now = 100.0

    def look(self, at: int | None, stable: int, step: float = STEP) -> Silence | None:
        self.now += step
        waiting = {} if at is None else {ONE: at}
        return self.watch.look(self.now, waiting, {ONE: Ends(stable + 9, stable)}).get(ONE)

    def silences(self, seconds: float, at: int | None = 5, stable: int = 8) -> list[Silence]:
        looks = (self.look(at, stable) for _ in range(int(seconds / STEP)))
        return [silence for silence in looks if silence is not None]


def test_a_partition_that_waits_for_records_that_are_there_is_read_again() -> None:
    assert Clock().silences(SILENT_SECONDS + 2 * STEP) == [Silence(5, 8, SILENT_SECONDS, 1)]


def test_each_further_time_it_waits_for_twice_as_long() -> None:
    found = Clock().silences(200.0)

    assert [silence.times for silence in found] == [1, 2, 3]
    assert [silence.seconds for silence in found] == [20.0, 60.0, 140.0]


def test_what_arrives_begins_the_wait_anew() -> None:
    clock = Clock()
    for offset in range(60):
        assert clock.silences(SILENT_SECONDS - STEP, at=offset, stable=100) == []


def test_a_partition_at_the_last_stable_offset_is_not_silent() -> None:
    # Records above it may be there: an open transaction of somebody holds them
    assert Clock().silences(200.0, at=8, stable=8) == []


def test_a_partition_that_has_something_to_fold_is_not_silent() -> None:
    clock = Clock()
    clock.silences(SILENT_SECONDS - STEP)
    assert clock.silences(200.0, at=None) == []
    assert clock.silences(SILENT_SECONDS) == []


def test_time_in_which_nobody_looked_hardly_counts() -> None:
    clock = Clock()
    clock.look(5, 8)
    # When the process was suspended, or Kafka did not answer for a minute
    assert clock.look(5, 8, step=60.0) is None
    # Then the partition has its time all the same
    assert clock.silences(SILENT_SECONDS - 3 * STEP) == []
    assert len(clock.silences(2 * STEP)) == 1


def test_a_partition_whose_end_is_unknown_is_left_alone() -> None:
    watch = SilenceWatch(STEP)
    for number in range(100):
        assert watch.look(number * STEP, {OTHER: 3}, {}) == {}


class Reading:
    """A partition that waits at offset 5, and counts how often it is read again."""

    def __init__(self) -> None:
        self.spec = SimpleNamespace(source=ONE)
        self.progress = Progress()
        self.waits_at: int | None = 5
        self.rereads = 0

    def reread(self) -> None:
        self.rereads += 1


def test_the_engine_reads_again_and_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[int] = []
    partition = Reading()
    source = SimpleNamespace(renew=lambda: renewed.append(partition.rereads))
    engine: Any = SimpleNamespace(
        partitions={("members", 0): partition},
        runtime=SimpleNamespace(source=source),
        _silence_watch=SilenceWatch(STEP),
    )
    moments = count(0.0, STEP)
    clock = SimpleNamespace(monotonic=lambda: next(moments))
    monkeypatch.setattr("streams.engine.engine.time", clock)

    # When Kafka has records for it for 70 s, and none of them comes
    for _ in range(35):
        Engine._read_silent_again(engine, {ONE: Ends(9, 8)})

    # Then it is read again, the second time with a new client
    assert partition.rereads == partition.progress.silences == 2
    assert renewed == [1]
    assert [record.getMessage() for record in caplog.records] == [
        f"group-events/0: no record has come from Kafka's client for {seconds} s, although Kafka "
        f"has records from offset 5 to 8; reading this partition {again} from there"
        for seconds, again in ((20, "again"), (60, "with a new client"))
    ]
