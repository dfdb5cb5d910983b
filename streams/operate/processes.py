"""Worker processes, for commands that start a whole system.

Each worker has a data folder, a port and a session of its own: Ctrl-C reaches only the command,
which then stops workers and broker in the right order. A worker ends with the command, however
the command ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streams import child_process
from streams.errors import StreamsError
from streams.operate.progress import say

STOP_SECONDS = 30.0
"""How long a worker may take to write its last checkpoint and leave."""
HOPELESS_RESTARTS = 5
"""Exits in a row, each within `HOPELESS_SECONDS` of a start, before a command gives up."""
HOPELESS_SECONDS = 20.0
LOG_LINES = 15


@dataclass(slots=True)
class WorkerProcess:
    """One worker: its environment, its log file, and its present process."""

    name: str
    environment: dict[str, str]
    log: Path
    url: str
    app: str = "streams.app"
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0

    def start(self) -> None:
        """Start the worker; its output is appended to the log file."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = child_process.start(
                [sys.executable, "-m", "faust", "-A", self.app, "worker"],
                output=output,
                env=self.environment,
            )
        self.started = time.monotonic()

    def exit_code(self) -> int | None:
        """Return the exit code, None while the worker runs."""
        return None if self.process is None else self.process.poll()

    def last_lines(self) -> str:
        """Return the last lines of the log."""
        with self.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 8192))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


@dataclass(slots=True)
class Workers:
    """The workers that a command has started."""

    processes: list[WorkerProcess] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        """Base URLs of the workers' gateways."""
        return [worker.url for worker in self.processes]

    def restart_dead(self) -> None:
        """Restart workers that have exited.

        Raises:
            StreamsError: a worker keeps exiting soon after its start.
        """
        for worker in self.processes:
            code = worker.exit_code()
            if code is None:
                continue
            quick = time.monotonic() - worker.started < HOPELESS_SECONDS
            worker.quick_deaths = worker.quick_deaths + 1 if quick else 1
            if worker.quick_deaths >= HOPELESS_RESTARTS:
                raise gave_up(worker, code)
            say(f"{worker.name} ended ({ended(code)}), restarting it; log: {worker.log}")
            worker.start()

    def check(self) -> None:
        """Raise StreamsError if a worker has exited."""
        for worker in self.processes:
            code = worker.exit_code()
            if code is not None:
                raise gave_up(worker, code)

    def stop(self) -> None:
        """Stop all workers, and wait until they have exited."""
        running = [worker.process for worker in self.processes if worker.process is not None]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def workers(
    count: int,
    data: Path,
    host: str,
    ports: Sequence[int],
    settings: dict[str, str],
    app: str = "streams.app",
) -> Iterator[Workers]:
    """Run `count` workers with their data below `data`; stop them at the end of the body.

    If STREAMS_AMQP_PORT is set, it is the port of the first worker; the others have the next ones.
    """
    started = Workers()
    if count > 1 and {**os.environ, **settings}.get("STREAMS_HTTP_ADVERTISED_URL"):
        raise StreamsError(
            "STREAMS_HTTP_ADVERTISED_URL names one worker: unset it to start several"
        )
    try:
        for number, port in zip(range(1, count + 1), ports, strict=True):
            name = f"worker-{number}"
            environment = {
                **os.environ,
                **settings,
                "STREAMS_DATA": str(data / name),
                "STREAMS_HTTP_HOST": host,
                "STREAMS_HTTP_PORT": str(port),
            }
            amqp_port = environment.get("STREAMS_AMQP_PORT", "").strip()
            if amqp_port.isdecimal():  # what is not a port, the worker itself refuses
                environment["STREAMS_AMQP_PORT"] = str(int(amqp_port) + number - 1)
            scheme = "https" if environment.get("STREAMS_HTTP_TLS_CERTFILE") else "http"
            url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            worker = WorkerProcess(name, environment, data / "logs" / f"{name}.log", url, app)
            started.processes.append(worker)
            worker.start()
        yield started
    finally:
        started.stop()


def ended(code: int) -> str:
    """Return a description of a process's exit code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def gave_up(worker: WorkerProcess, code: int) -> StreamsError:
    """Print the end of a worker's log; return the error that it does not stay up."""
    say(worker.last_lines())
    return StreamsError(f"{worker.name} ended ({ended(code)}); its log: {worker.log}")
