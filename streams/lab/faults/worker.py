"""The app with a trap in it: what the suite's workers run, and nobody else.

``faust -A streams.lab.faults.worker worker`` is a worker that can be told to fail at one step.
The trap is a file, named by FAULTS_TRAP: ``PATTERN STEP ACTION``, such as
``members/* changelog kill``.
The first matching step springs it, once.  The steps are those of a checkpoint (outputs,
changelog, database, commit), and

* ``marker``: rows and marker are produced, their transaction is not committed;
* ``reply``: Kafka has an event, its client has no answer (the pattern is the topic).

Actions: ``kill`` and ``stop`` are the signals, ``hang`` blocks the thread forever.

FAULTS_PATIENCE is how many seconds the worker's watchdog waits; FAULTS_CLOCK names a file
with seconds that are added to this worker's clock.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import streams.cli  # noqa: F401 - `faust -A` shall know the commands of Streams
from streams.engine.application import App
from streams.repeats import RepeatFilter
from streams.settings import Settings
from streams.worker import build

SPRUNG = ".sprung"


class Trap:
    """Fails at the step that its file names; `step` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def step(self, name: str, step: str) -> None:
        """Fail if the trap is set for this step."""
        try:
            pattern, wanted, action = self._path.read_text().split()
            if step != wanted or not fnmatchcase(name, pattern):
                return
            self._path.rename(self._path.with_suffix(SPRUNG))
        except FileNotFoundError:
            return
        print(f"trap sprung: {action} at {step} of {name}", flush=True)
        if action == "hang":
            time.sleep(1e6)
        os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)


class _Trapped:
    """A transactional producer with a step before its commit."""

    def __init__(self, producer: Any, trap: Trap, name: str) -> None:
        self._producer, self._trap, self._name = producer, trap, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def commit_transaction(self, *timeout: float) -> None:
        self._producer.flush(5.0)
        self._trap.step(self._name, "marker")
        self._producer.commit_transaction(*timeout)


def set_trap(app: App, path: Path) -> None:
    """Put the trap into this process and its app."""
    from streams.engine.changelog import ChangelogWriter
    from streams.gateway.writes.publishing import Publishing

    trap = Trap(path)
    app.engine.on_step = trap.step
    open_writer, note = ChangelogWriter.open, Publishing._note

    def opened(self: Any) -> None:
        open_writer(self)
        table = self.topic.removesuffix("-changelog").rpartition("-")[2]
        self._producer = _Trapped(self._producer, trap, f"{table}/{self.partition}")

    def noted(self: Any, topic: str, partition: int, offset: int) -> None:
        note(self, topic, partition, offset)
        trap.step(topic, "reply")

    ChangelogWriter.open = opened  # type: ignore[method-assign]
    Publishing._note = noted  # type: ignore[method-assign]


def bend_clock(path: Path) -> None:
    """Shift `time.time` by the seconds in the file."""
    real, real_ns = time.time, time.time_ns
    offset = 0

    def follow() -> None:
        nonlocal offset
        while True:
            try:
                offset = int(path.read_text() or 0)
            except (FileNotFoundError, ValueError):
                offset = 0
            time.sleep(0.1)

    threading.Thread(target=follow, name="clock", daemon=True).start()
    time.time = lambda: real() + offset
    time.time_ns = lambda: real_ns() + offset * 1_000_000_000


def end_with_parent() -> None:
    """Let the kernel kill this process when the suite is killed (PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def log_more() -> None:
    """Log the course of rebalances, which is below the log level of Faust's worker."""
    handler = logging.StreamHandler()
    handler.addFilter(RepeatFilter())
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)s] %(message)s"))
    for name in ("streams", "aiokafka.consumer.group_coordinator"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


app = build(Settings.from_env())
if "FAULTS_TRAP" in os.environ:  # set by the suite, not by others that import this module
    end_with_parent()
    log_more()
    set_trap(app, Path(os.environ["FAULTS_TRAP"]))
if "FAULTS_CLOCK" in os.environ:
    bend_clock(Path(os.environ["FAULTS_CLOCK"]))
if "FAULTS_PATIENCE" in os.environ:
    app.engine.stuck_seconds = float(os.environ["FAULTS_PATIENCE"])
