"""Resource usage of processes: CPU time, memory and disk."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from streams.lab.bench.figures import Measurement

PRODUCER = "producer"
"""The bench's own process, which is also the client of the HTTP benches."""
WORKER = "worker"
BROKER = "broker"
_THREADS = {"rdk:": "Kafka client", "rocksdb": "RocksDB's own threads"}
PEAK_SECONDS = 0.5
"""Time between two samples of memory usage."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of each kind of process, over `seconds` of time."""

    seconds: float
    cpu: Mapping[str, float]
    threads: Mapping[str, float]
    """CPU seconds of the workers by kind of thread, on Linux."""

    def share(self, kind: str) -> float:
        """Return the CPU usage of a kind of process, in percent of one core."""
        return 100 * self.cpu[kind] / self.seconds

    def samples(self, prefix: str = "") -> list[Measurement]:
        """Return the shares of all kinds."""
        return [
            Measurement(f"{prefix}{kind} CPU", self.share(kind), "% of a core") for kind in self.cpu
        ]

    def micros(self, of: str, events: int) -> list[Measurement]:
        """Return the workers' CPU time per event, and its parts by kind of thread."""
        name = f"worker CPU per {of}"
        return [
            Measurement(name, self.cpu[WORKER] * 1e6 / events, "µs"),
            *(
                Measurement(f"{name}: {kind}", seconds * 1e6 / events, "µs")
                for kind, seconds in self.threads.items()
            ),
        ]


class Meter:
    """Measures the CPU time of processes by kind, from `start` to `read`."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._processes = {
            kind: [psutil.Process(pid) for pid in found] for kind, found in pids.items() if found
        }
        self._processes[PRODUCER] = [psutil.Process(os.getpid())]
        self._began = 0.0
        self._before: dict[str, float] = {}
        self._threads_before: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Start a measurement."""
        self._before = self._now()
        self._threads_before = self._threads()
        self._began = time.monotonic()

    def read(self) -> Usage:
        """Return the usage since the last `start`."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        now, threads = self._now(), self._threads()
        return Usage(
            seconds,
            {kind: now[kind] - self._before[kind] for kind in now},
            # the time of a thread that has exited is lost
            {
                kind: max(0.0, used - self._threads_before.get(kind, 0.0))
                for kind, used in threads.items()
            },
        )

    def resident_bytes(self, kind: str) -> int:
        """Return the resident memory of all processes of a kind."""
        return sum(int(process.memory_info().rss) for process in self._processes.get(kind, ()))

    def _now(self) -> dict[str, float]:
        found: defaultdict[str, float] = defaultdict(float)
        for kind, processes in self._processes.items():
            for process in processes:
                times = process.cpu_times()
                found[kind] += times.user + times.system
        return found

    def _threads(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for process in self._processes.get(WORKER, ()):
            for thread in process.threads():
                kind = _kind_of_thread(process.pid, thread.id)
                if kind is not None:
                    found[kind] = found.get(kind, 0.0) + thread.user_time + thread.system_time
        return dict(sorted(found.items()))


class PeakMemory:
    """Peak resident memory of a kind of process while the body runs."""

    def __init__(self, meter: Meter, kind: str) -> None:
        self.bytes = 0
        self._meter = meter
        self._kind = kind
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Sample one last time, and stop."""
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(PEAK_SECONDS):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, self._meter.resident_bytes(self._kind))


def _kind_of_thread(pid: int, thread: int) -> str | None:
    """Return the kind of a worker's thread from its name, which native libraries set."""
    if thread == pid:
        return "event loop"
    try:
        name = Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
    except OSError:
        return None
    for start, kind in _THREADS.items():
        if name.startswith(start):
            return kind
    return "other Python threads"


def disk_bytes(folder: Path) -> int:
    """Return the bytes that the files below a folder take on disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:  # deleted meanwhile
                continue
    return total
