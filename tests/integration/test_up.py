"""`streams up` as operators start and lose it: its processes, folders and ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.ports import private_ports, release

START_SECONDS = 180.0
MAIN = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a terminal, whatever runs the tests
from streams.cli import main
main()
"""

pytestmark = [pytest.mark.slow, pytest.mark.fault]


class Up:
    """One `streams` command that runs until it is stopped."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.folder = folder
        self.errors = folder.parent / f"{time.monotonic_ns()}.errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, *arguments],
                env={
                    **os.environ,
                    "STREAMS_DATA": str(folder),
                    "STREAMS_PARTITIONS": "2",
                    **variables,
                },
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def until(self, word: str) -> None:
        """Wait for a line of output that contains the word."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if word in line:
                return
        raise AssertionError(f"it has ended: {self.errors.read_text()}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def children(self) -> list[int]:
        """Return the ids of its child processes."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and str(self.folder).encode() in _environment(entry)
        ]


def _environment(process: Path) -> bytes:
    try:
        if process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return b""
        return process.joinpath("environ").read_bytes() + process.joinpath("cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def up(folder: Path, *arguments: str, **variables: str) -> Iterator[Up]:
    """Run a command; at the end, kill whatever is left of it."""
    started = Up(folder, *arguments, **variables)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def refused(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command that must exit with code 1; return its output."""
    with up(folder, *arguments, **variables) as command:
        assert command.process.wait(START_SECONDS) == 1
        return command.errors.read_text()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="it finds processes in /proc")
def test_up_takes_its_processes_with_it_and_keeps_others_out(tmp_path: Path) -> None:
    # Given a system under the locale C, in a folder whose name is not ASCII; it has a comma too,
    # which separates folders in Kafka's properties
    folder = tmp_path / "Wörld, a 'b'"
    ports = private_ports(3)
    release(ports)
    kafka, http, other = ports
    arguments = ("up", "--kafka-port", str(kafka))
    variables = {"STREAMS_HTTP_PORT": str(http), "LC_ALL": "C"}
    with up(folder, *arguments, **variables) as first:
        first.until("worker-1 is ready")
        pid = first.process.pid

        # Then a second one, a worker and a broker are refused, and the running process is named
        assert f"used by process {pid}" in refused(folder, *arguments, **variables)
        assert "used by process " in refused(
            folder / "worker-1",
            "worker",
            STREAMS_BROKERS=f"127.0.0.1:{kafka}",
            STREAMS_HTTP_PORT=str(other),
        )
        assert f"used by process {pid}" in refused(folder, "broker", "--kafka-port", str(other))
        # And a port that is taken is an error
        said = refused(tmp_path / "b", *arguments, STREAMS_HTTP_PORT=str(other))
        assert f"port {kafka} is taken" in said
        said = refused(
            tmp_path / "b", "up", "--kafka-port", str(other), STREAMS_HTTP_PORT=str(other)
        )
        assert f"port {other} is meant for Kafka and for a worker" in said
        said = refused(tmp_path / "b", "up", "--kafka-port", str(other), **variables)
        assert f"port {http} of 127.0.0.1 is taken" in said

        # When it is killed, then its processes end
        assert len(first.children()) >= 3
        first.end(signal.SIGKILL)

        # And the next one, started at once, waits for them and gets the folder with its data
        with up(folder, *arguments, **variables) as second:
            second.until("worker-1 is ready")

            # When its terminal is closed, then it stops in order and leaves nothing behind
            assert second.end(signal.SIGHUP) == 0
            wait_until(lambda: not second.children())


def test_a_worker_reports_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refused(
            tmp_path,
            "up",
            STREAMS_HTTP_PORT=str(port),
        )
    assert said.strip() == (
        f"streams: port {port} of 127.0.0.1 is taken: stop what listens there, or set "
        "STREAMS_HTTP_PORT"
    )
