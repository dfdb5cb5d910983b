"""When to give up on a system, and what to say of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import Any

import pytest

from streams.errors import Unavailable
from streams.operate import cluster as cluster_module
from streams.operate.cluster import Cluster
from streams.operate.stalls import PATH, process_state, report
from streams.stall_timer import StallTimer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def looks(timer: StallTimer, clock: Clock, *, every: float, times: int, mark: object = 7) -> bool:
    stalled = False
    for _ in range(times):
        clock.now += every
        stalled = timer.is_stalled(mark)
    return stalled


def test_what_does_not_move_is_stalled() -> None:
    clock = Clock()
    timer = StallTimer(60.0, clock)
    assert not looks(timer, clock, every=1.0, times=60)  # the first look only sets the mark
    assert looks(timer, clock, every=1.0, times=1)


def test_every_movement_starts_anew() -> None:
    clock = Clock()
    timer = StallTimer(60.0, clock)
    for mark in range(10):
        assert not looks(timer, clock, every=1.0, times=50, mark=mark)


def test_time_in_which_this_process_was_stopped_does_not_count() -> None:
    # Given a timer that has waited for ten seconds
    clock = Clock()
    timer = StallTimer(60.0, clock)
    looks(timer, clock, every=1.0, times=11)
    # When the machine is suspended for an hour, Then that is a short wait, and no stall
    assert not looks(timer, clock, every=3_600.0, times=1)
    assert timer.waited < 30.0


ANSWER: dict[str, Any] = {
    "pid": 0,
    "generation": 3,
    "rebalancing": True,
    "ready": False,
    "failure": None,
    "outputs_queued": 100_000,
    "partitions": [
        {
            "table": "members",
            "partition": 4,
            "state": "catching-up",
            "position": 10,
            "end": 70,
            "checkpointed": 5,
            "restored": 1.0,
            "failures": 2,
        },
        {"table": "members", "partition": 5, "owner": "http://b:1"},
    ],
    "debug": {
        "group": {
            "heartbeat_seconds_ago": 31.0,
            "missed_generation": True,
            "joining": False,
        },
        "waited": {"folding of members/4": 42.0},
        "compute_lock": True,
        "source_reader": {
            "turns": 9,
            "commands_waiting": 0,
            "delivery_taken": False,
            "partitions": [
                {
                    "topic": "group-events",
                    "partition": 4,
                    "next": 60,
                    "end": 70,
                    "backlog": 50,
                    "paused": True,
                }
            ],
        },
        "partitions": [
            {
                "table": "members",
                "partition": 4,
                "lease": False,
                "opening_queued": False,
                "chunks_waiting": 6,
                "task": ["engine/output.py:203 send", "engine/folding.py:140 _send"],
                "checkpoint": {"step": "outputs", "seconds": 61.0, "outputs_waited_for": 8},
            }
        ],
        "threads": [
            {"threads": ["source"], "at": ["engine/source.py:171 _run"]},
            {"threads": ["engine_0", "engine_1"], "at": ["concurrent/thread.py:81 _worker"]},
        ],
    },
}


def test_the_report_tells_states_positions_and_what_is_waited_for() -> None:
    text = report({"http://a:1": ANSWER, "http://b:1": "cannot be reached"}, {"in": {0: 7, 1: 9}})
    for wanted in (
        "worker http://a:1 (process 0): not ready, generation 3, last heartbeat 31.0 s ago,"
        " 100000 outputs not confirmed, rebalancing, missed a generation",
        "folding of members/4: no progress for 42.0 s",
        "members/4: catching-up, position 10 of 70, checkpointed 5",
        "2 failures",
        "no valid lease, 6 chunks wait, checkpoint at step outputs for 61.0 s, 8 outputs to come",
        "task at engine/output.py:203 send < engine/folding.py:140 _send",
        "group-events/4 next 60 of 70 backlog 50 paused",
        "last delivery not taken",
        "thread source: engine/source.py:171 _run",
        "worker http://b:1 does not answer: cannot be reached",
        "in ends at 0:7 1:9",
    ):
        assert wanted in text
    assert "members/5" not in text
    assert "engine_0" not in text  # idle threads say nothing


def test_an_answer_without_internals_is_reported_too() -> None:
    assert "generation None" in report({"http://a:1": {"partitions": []}}, "no broker")
    assert report({}, "no broker") == "Kafka does not answer: no broker"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_stopped_process_is_called_so() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        process.send_signal(signal.SIGSTOP)
        while process_state(process.pid) != "stopped":
            pass
        process.kill()
    assert process_state(process.pid) is None


class Gateway:
    """A worker that answers and stands still."""

    urls = ("http://a:1",)

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        await asyncio.sleep(0)
        self.asked.append(path)
        return ANSWER


async def test_giving_up_says_what_the_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a worker whose partition does not move
    gateway: Any = Gateway()
    monkeypatch.setattr(cluster_module, "PAUSE_SECONDS", 0.0)
    # When its patience ends
    with pytest.raises(Unavailable) as told:
        await Cluster(gateway).folded("members", {4: 70}, 0.05)
    # Then the error says how much is left and what everything waits for
    assert "60 records of the source of members are still not folded" in str(told.value)
    assert "checkpoint at step outputs for 61.0 s" in str(told.value)
    assert gateway.asked[-1] == PATH
