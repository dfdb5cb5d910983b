"""How fast workers come back: with their tables gone, with them there, and after a kill."""

from __future__ import annotations

import shutil
import signal
import time
from typing import Final

from streams.lab.bench.churn import BIND, memberships
from streams.lab.bench.feeding import changes
from streams.lab.bench.figures import Sample
from streams.lab.bench.stage import Running, Stage
from streams.lab.bench.usage import disk_bytes
from streams.lab.workload.population import MEASURED

WHAT = (
    "With the bindings of four times the measured population in both tables. Cold: workers are "
    "stopped and their tables deleted; rows per second from the moment at which the new ones "
    "know their partitions until all of them answer reads, and seconds from the start of their "
    "processes. Warm: the same with the tables still there. After a kill: the same by SIGKILL."
)
SCALE: Final = 4
SESSION_SECONDS: Final = 10


def measure(stage: Stage) -> list[Sample]:
    """Measure one run."""
    count = stage.options.size(SCALE * MEASURED.memberships, 30_000)
    # A killed worker is missed only after the session timeout: so it is the usual one here.
    with stage.system({"STREAMS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)}) as running:
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
        Sample("rows restored", rows / restoring, "/s"),
        Sample("cold start until ready", cold, "s"),
        Sample("warm start until ready", warm, "s"),
        Sample("start after a kill until ready", killed, "s"),
        Sample("rows", rows, "rows"),
        Sample("tables on disk", size, "MiB"),
    ]


def stop(running: Running, number: signal.Signals) -> None:
    """End all workers by a signal, and wait until they have left."""
    for worker in running.processes:
        assert worker.process is not None
        worker.process.send_signal(number)
    for worker in running.processes:
        assert worker.process is not None
        worker.process.wait(60)


def start(running: Running) -> tuple[float, float, int]:
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


def measure_stock(stage: Stage) -> list[Sample]:
    """Measure one run of the baseline."""
    from streams.lab.bench.baseline import StockSystem

    pairs = memberships(stage.options.size(20_000, 4_000), "c")
    with stage.stock() as started:
        stock = StockSystem(*started)
        stock.warm_up()
        stock.feed(changes(BIND, pairs), len(pairs))
        stock.stop()
        shutil.rmtree(stock.worker.environment["STREAMS_DATA"])
        cold, restoring = stock.start()
        stock.stop()
        warm, _ = stock.start()
    return [
        Sample("rows restored", 2 * len(pairs) / restoring, "/s"),
        Sample("cold start until ready", cold, "s"),
        Sample("warm start until ready", warm, "s"),
        Sample("rows", 2 * len(pairs), "rows"),
    ]
