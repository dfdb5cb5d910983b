"""Offsets without records: only those below the start of the log were deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streams.engine import gaps as module
from streams.engine.gaps import Gaps
from streams.errors import Unavailable


class Kafka:
    """Tells the start of a log, when the test lets it."""

    def __init__(self, start: int | Exception) -> None:
        self.start = start
        self.asked = 0
        self.answers = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    async def blocking(self, call: Callable[..., Any], *args: Any) -> Any:
        self.asked += 1
        await self.answers.wait()
        return call(*args)

    def log_start(self, partition: tuple[str, int]) -> int:
        assert partition == ("in", 3)
        if isinstance(self.start, Exception):
            raise self.start
        return self.start


@pytest.fixture(autouse=True)
def pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)


def gaps_of(kafka: Any) -> Gaps:
    return Gaps(kafka, ("in", 3))


async def test_the_end_of_a_transaction_is_no_deleted_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a log that still has all records
    kafka = Kafka(0)
    gaps = gaps_of(kafka)

    # When an offset has no record
    gaps.seen(203, 204)
    kafka.answers.set()
    await gaps.settled()

    # Then Kafka was asked, and nothing is said
    assert kafka.asked == 1
    assert not caplog.records


@pytest.mark.parametrize(("start", "last"), [(204, 203), (300, 299), (900, 299)])
async def test_what_was_deleted_is_told(
    start: int, last: int, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = Kafka(start)
    gaps = gaps_of(kafka)
    gaps.seen(203, last + 1)
    kafka.answers.set()
    await gaps.settled()
    assert f"in/3: offsets 203 to {last} were deleted before they were folded" in caplog.text


async def test_only_what_is_below_the_start_was_deleted(caplog: pytest.LogCaptureFixture) -> None:
    # Given a gap whose last offsets are the end of a transaction
    kafka = Kafka(250)
    gaps = gaps_of(kafka)
    gaps.seen(203, 252)
    kafka.answers.set()
    await gaps.settled()
    assert "offsets 203 to 249 were deleted" in caplog.text


async def test_gaps_that_are_seen_meanwhile_share_a_question(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a question that is not answered yet
    kafka = Kafka(0)
    gaps = gaps_of(kafka)
    gaps.seen(10, 11)
    await asyncio.sleep(0)
    assert kafka.asked == 1

    # When more gaps are seen, and some of them turn out to be deleted
    for offset in range(20, 90, 10):
        gaps.seen(offset, offset + 1)
    kafka.start = 31
    kafka.answers.set()
    await gaps.settled()

    # Then one more question is asked for all of them
    assert kafka.asked == 2
    deleted = [record.args[2:] for record in caplog.records if isinstance(record.args, tuple)]
    assert deleted == [(10, 10), (20, 20), (30, 30)]


async def test_it_is_told_that_kafka_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    kafka = Kafka(Unavailable("no answer"))
    gaps = gaps_of(kafka)
    gaps.seen(10, 12)
    kafka.answers.set()
    await gaps.settled()
    assert "does not tell whether offsets 10 to 11 were deleted" in caplog.text


async def test_many_gaps_are_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a pause that no test waits for, and a question that was answered
    monkeypatch.setattr(module, "PAUSE_SECONDS", 3600)
    kafka = Kafka(0)
    kafka.answers.set()
    gaps = gaps_of(kafka)
    gaps.seen(10, 11)
    for offset in range(20, 90, 10):
        await asyncio.sleep(0.01)
        gaps.seen(offset, offset + 1)

    # Then the gaps that came after it wait together
    assert kafka.asked == 1
