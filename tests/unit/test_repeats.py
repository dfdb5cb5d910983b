"""Repeated log lines: the first is logged, then counts at growing intervals, then the end."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from streams.repeats import (
    CAUSES_OF_CALL,
    FIRST_SUMMARY_SECONDS,
    MAX_CAUSES,
    OVER_SECONDS,
    REPEATING,
    VARIANTS,
    RepeatFilter,
    Repeats,
    Summary,
)

CALL = "cannot connect to %s: %s"
TEXT = "cannot connect to b:9092: refused"


def fail(repeats: Repeats, now: float, text: str = TEXT, call: str = CALL) -> bool:
    return repeats.is_new("client", logging.ERROR, call, text, now)


def test_a_repeated_line_is_logged_once() -> None:
    repeats = Repeats()

    assert fail(repeats, 0)
    assert not any(fail(repeats, n / 1000) for n in range(3000))
    assert fail(repeats, 3, "cannot connect to b:9092: no route")
    assert repeats.is_new("other", logging.ERROR, CALL, TEXT, 3)
    assert repeats.is_new("client", logging.WARNING, CALL, TEXT, 3)


def test_lines_that_differ_in_numbers_only_are_one_cause() -> None:
    repeats = Repeats()

    logged = [fail(repeats, 0, f"queues/{n}: failed at 0x{n:x}f") for n in range(100)]

    assert sum(logged) == VARIANTS
    assert all(logged[:VARIANTS])


def test_summaries_say_how_often_and_since_when_at_growing_intervals() -> None:
    repeats = Repeats()
    said: list[tuple[int, str]] = []

    for second in range(3600):
        fail(repeats, second)
        said += [(second, line.text) for line in repeats.summaries(second)]

    assert [second for second, _ in said] == [60, 180, 420, 900, 1860]
    assert said[0][1] == f"60 more in the last 60 s, for 60 s now: {TEXT}"
    assert said[2][1] == f"240 more in the last 4 min, for 7 min now: {TEXT}"


def test_the_end_is_one_line_for_all_that_ended_together() -> None:
    repeats = Repeats()
    for second in range(30):
        fail(repeats, second)
        fail(repeats, second, "no metadata")
        fail(repeats, second, "no metadata")

    assert repeats.summaries(29 + OVER_SECONDS - 1) == []
    (line,) = repeats.summaries(29 + OVER_SECONDS)

    assert line == Summary(
        "streams.repeats",
        logging.INFO,
        "no longer repeated, after 29 s and 88 lines that were not logged: "
        "no metadata and 1 other messages",
    )
    assert repeats.due() is None
    assert fail(repeats, 100), "a cause that returns is new"


def test_a_line_that_came_once_has_no_end() -> None:
    repeats = Repeats()
    fail(repeats, 0)

    assert repeats.summaries(OVER_SECONDS) == []
    assert repeats.due() is None


def test_due_is_when_the_next_line_may_be_said() -> None:
    repeats = Repeats()
    fail(repeats, 0)
    assert repeats.due() == OVER_SECONDS
    fail(repeats, 40)
    assert repeats.due() == FIRST_SUMMARY_SECONDS


def test_lines_of_one_call_that_differ_in_names_become_one_cause() -> None:
    repeats = Repeats()
    names = [f"{a}{b}" for a in "ghijklmn" for b in "opqrstuv"]

    logged = sum(fail(repeats, 0, f"cannot connect to {name}") for name in names)

    assert logged == CAUSES_OF_CALL + VARIANTS
    assert fail(repeats, 0, "other", call="another call")


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats()

    for n in range(MAX_CAUSES + 1):
        name = "".join(chr(ord("g") + int(digit)) for digit in str(n))
        assert fail(repeats, 0, name, call=name)

    assert fail(repeats, 0, "g", call="g"), "the oldest was forgotten"
    assert not fail(repeats, 0, name, call=name)


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """A logger whose lines reach `caplog` through a `RepeatFilter`."""
    repeated = RepeatFilter()
    caplog.handler.addFilter(repeated)
    with caplog.at_level(logging.INFO):
        yield logging.getLogger("tests.repeats")
    caplog.handler.removeFilter(repeated)


def test_the_filter_counts_warnings_and_marked_lines(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        logger.info("queue opened")
        logger.warning("failed: %s", "refused")
        logger.info("trying again", extra=REPEATING)

    said = [record.getMessage() for record in caplog.records]
    assert said.count("queue opened") == 5
    assert said.count("failed: refused") == 1
    assert said.count("trying again") == 1


def test_the_filter_logs_summaries(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.repeats.OVER_SECONDS", 2.0)
    (repeated,) = (one for one in caplog.handler.filters if isinstance(one, RepeatFilter))

    for _ in range(5):
        logger.error("refused")
    thread = repeated._thread
    assert thread is not None
    thread.join(120)

    assert not thread.is_alive()
    # The filter of another test may still have something to sum up.
    texts = [record.getMessage() for record in caplog.records]
    said, summary = [text for text in texts if text.endswith("refused")]
    assert said == "refused"
    assert re.fullmatch(
        "no longer repeated, after [0-9]+ s and 4 lines that were not logged: refused", summary
    )
    logger.error("refused")
    assert [record.getMessage() for record in caplog.records].count("refused") == 2
