"""The traps of a worker under test, in a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from streams.lab.faults.harness import FaultWorker
from streams.lab.faults.worker import SPRUNG

STOPS_LATER = "import os, signal; input(); os.kill(os.getpid(), signal.SIGSTOP); input()"


def sprung(worker: FaultWorker) -> bool:
    return worker.sprung


def test_a_trap_that_stops_has_sprung_once_its_process_stands_still(tmp_path: Path) -> None:
    environment = {"FAULTS_TRAP": str(tmp_path / "trap")}
    worker = FaultWorker("worker", environment, tmp_path / "log", "http://127.0.0.1:1")
    with subprocess.Popen([sys.executable, "-c", STOPS_LATER], stdin=subprocess.PIPE) as process:
        worker.process = process
        worker.set_trap("*", "marker", "stop")
        assert not sprung(worker)

        # When the worker has said so, but goes on
        (tmp_path / "trap").with_suffix(SPRUNG).touch()
        assert not sprung(worker)

        # Then only its stop counts, however often one looks
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        while not sprung(worker):
            assert worker.running
        worker.signal(signal.SIGCONT)
        process.kill()
        process.wait(60)
    assert sprung(worker)
