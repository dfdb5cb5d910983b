"""What the answers of the workers say about an upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from streams.errors import StreamsError
from streams.operate.levels import Survey, check_obstacles


def answer(*workers: dict[str, Any], levels: tuple[int | None, ...] = (1, 1)) -> dict[str, Any]:
    partitions = [
        {"table": table, "partition": number, "level": level}
        for table in ("members", "queues")
        for number, level in enumerate(levels)
    ]
    return {"workers": list(workers), "partitions": partitions}


def worker(name: str, known: int | None, **more: Any) -> dict[str, Any]:
    return {"url": name, "answers": True, "version": "0.3.0", "known_level": known, **more}


def test_nothing_is_in_the_way_if_all_workers_know_the_level() -> None:
    survey = Survey.of(answer(worker("a", 3), worker("b", 2)))
    assert survey.partitions == 2
    assert survey.below(1) == []
    assert survey.below(2) == [("members", 0), ("members", 1), ("queues", 0), ("queues", 1)]
    assert survey.obstacles(2) == []
    check_obstacles(survey, 2)


def test_an_older_worker_is_in_the_way() -> None:
    # A worker of a version before levels reports neither version nor level
    survey = Survey.of(answer(worker("a", 2), worker("b", 1), worker("c", None, version=None)))
    assert survey.obstacles(2) == [
        "b runs 0.3.0, which does not know level 2: upgrade it",
        "c runs an older version, which does not know level 2: upgrade it",
    ]
    with pytest.raises(StreamsError, match=r"cannot be finished: b runs 0\.3\.0"):
        check_obstacles(survey, 2)


def test_a_worker_that_does_not_answer_is_in_the_way() -> None:
    silent = {"url": "b", "answers": False, "error": "it is frozen"}
    survey = Survey.of(answer(worker("a", 2), silent))
    assert survey.obstacles(2) == ["b does not answer: it is frozen"]


def test_a_partition_that_is_not_open_is_in_the_way() -> None:
    survey = Survey.of(answer(worker("a", 2), levels=(2, None)))
    assert survey.below(2) == [("members", 1), ("queues", 1)]
    assert survey.obstacles(2) == ["2 partitions are not open: members/1, queues/1"]
