"""What processes use, told by a process of which it is known."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streams.lab.bench.usage import BROKER, PRODUCER, WORKER, Meter, PeakMemory, Usage, disk_bytes


def test_cpu_time_is_that_of_the_span_by_kind() -> None:
    # Given a process that is busy, and one that is not
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    idle = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
    )
    try:
        meter = Meter({WORKER: [busy.pid], BROKER: [idle.pid]})
        assert idle.stdout is not None
        idle.stdout.readline()  # it has started
        # When it is metered until the busy one has had a turn
        meter.start()
        deadline = time.monotonic() + 120
        while (usage := meter.read()).cpu[WORKER] <= 0.05:
            assert time.monotonic() < deadline, usage
            time.sleep(0.05)
    finally:
        for process in (busy, idle):
            process.kill()
            process.communicate()
    # Then the busy one has used more, up to all of the span
    assert usage.cpu[WORKER] <= usage.seconds + 0.05
    assert usage.cpu[BROKER] < usage.cpu[WORKER]
    assert {sample.name for sample in usage.samples("x: ")} == {
        "x: worker CPU",
        "x: broker CPU",
        "x: producer CPU",
    }


def test_a_broker_of_somebody_else_is_left_out() -> None:
    usage = Meter({BROKER: []}).read()
    assert set(usage.cpu) == {PRODUCER}


def test_cost_per_event_has_its_parts() -> None:
    usage = Usage(2.0, {WORKER: 1.5}, {"event loop": 1.0, "Kafka client": 0.5})
    assert usage.share(WORKER) == pytest.approx(75)
    assert [(s.name, round(s.value), s.unit) for s in usage.micros("bind", 100_000)] == [
        ("worker CPU per bind", 15, "µs"),
        ("worker CPU per bind: event loop", 10, "µs"),
        ("worker CPU per bind: Kafka client", 5, "µs"),
    ]


def test_memory_is_the_highest_of_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.lab.bench.usage.PEAK_SECONDS", 0.005)
    meter = Meter({})
    sizes = iter([100, 300])
    enough = threading.Event()

    def resident(kind: str) -> int:
        size = next(sizes, None)
        if size is None:
            enough.set()
        return size or 200

    monkeypatch.setattr(meter, "resident_bytes", resident)
    with PeakMemory(meter, WORKER) as peak:
        assert enough.wait(120)
    assert peak.bytes == 300


def test_disk_is_what_the_files_take(tmp_path: Path) -> None:
    assert disk_bytes(tmp_path) == 0
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(b"x" * 100_000)
    assert 90_000 < disk_bytes(tmp_path) < 300_000
