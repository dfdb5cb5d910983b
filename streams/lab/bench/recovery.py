"""How fast workers restart: without tables, with tables, and after a kill."""

from __future__ import annotations

import shutil
import signal
import time
from typing import Final

from streams.lab.bench.churn import BIND, memberships
from streams.lab.bench.figures import Measurement
from streams.lab.bench.harness import BenchHarness, RunningSystem
from streams.lab.bench.producing import changes
from streams.lab.bench.usage import disk_bytes
from streams.lab.workload.population import MEASURED

WHAT = (
    "Both tables hold the bindings of four times the measured population. Cold: the workers are "
    "stopped and their tables deleted; rows per second from the assignment of the partitions "
    "until all of them answer reads, and seconds since the start of the processes. Warm: the "
    "same with the tables kept. After a kill: the same after SIGKILL."
)
SCALE: Final = 4
SESSION_SECONDS: Final = 10


def measure(harness: BenchHarness) -> list[Measurement]:
    """Measure one run."""
    count = harness.options.size(SCALE * MEASURED.memberships, 30_000)
    # a kill is noticed only after the session timeout: use the production default
    with harness.system({"STREAMS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}) as running:
        bindings = running.settle(changes(BIND, memberships(count, "c")))
        size = disk_bytes(running.data) / 2**20
        stop(running, signal.SIGTERM)
        for worker in running.processes:
            shutil.rmtree(running.data / worker.name)
        cold, restoring, rows = start(running)
        if rows < 2 * bindings:
            raise AssertionError(f"{rows} rows came back of {2 * bindings}")
        stop(running, signal.SIGTERM)
        warm, _, _ = start(running)
        stop(running, signal.SIGKILL)
        killed, _, _ = start(running)
    return [
        Measurement("rows restored", rows / restoring, "/s"),
        Measurement("cold start until ready", cold, "s"),
        Measurement("warm start until ready", warm, "s"),
        Measurement("start after a kill until ready", killed, "s"),
        Measurement("rows", rows, "rows"),
        Measurement("tables on disk", size, "MiB"),
    ]


def stop(running: RunningSystem, number: signal.Signals) -> None:
    """Stop all workers with a signal, and wait until they have exited."""
    for worker in running.processes:
        assert worker.process is not None
        worker.process.send_signal(number)
    for worker in running.processes:
        assert worker.process is not None
        worker.process.wait(60)


def start(running: RunningSystem) -> tuple[float, float, int]:
    """Start all workers again, and wait until they are ready.

    Returns:
        Seconds from the start of the processes, seconds from the moment at which they knew
        their partitions, and how many rows they restored.
    """
    began = time.monotonic()
    for worker in running.processes:
        worker.start()
    running.positions.until(lambda look: bool(look.positions))
    assigned = time.monotonic()
    look = running.positions.until(lambda look: look.ready)
    ready = time.monotonic()
    return ready - began, ready - assigned, look.restored_rows


def measure_stock(harness: BenchHarness) -> list[Measurement]:
    """Measure one run of the baseline."""
    from streams.lab.bench.baseline import StockSystem

    pairs = memberships(harness.options.size(20_000, 4_000), "c")
    with harness.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        stock.feed(changes(BIND, pairs), len(pairs))
        stock.stop()
        shutil.rmtree(stock.worker.environment["STREAMS_DATA"])
        cold, restoring = stock.start()
        stock.stop()
        warm, _ = stock.start()
    return [
        Measurement("rows restored", 2 * len(pairs) / restoring, "/s"),
        Measurement("cold start until ready", cold, "s"),
        Measurement("warm start until ready", warm, "s"),
        Measurement("rows", 2 * len(pairs), "rows"),
    ]
