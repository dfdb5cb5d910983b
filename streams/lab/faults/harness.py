"""One system under test: its workers, their supervisor, and what a fault may do to them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from streams.errors import StreamsError
from streams.folds.tables import TABLES
from streams.lab.faults.brokers import FIRST_PORT, HOST, Brokers
from streams.lab.faults.evidence import Answers, TablePartition
from streams.lab.faults.load import LoadGenerator
from streams.lab.faults.monitor import ClusterMonitor
from streams.lab.faults.probe_client import ProbeClient
from streams.lab.faults.securing import Security
from streams.lab.faults.worker import SPRUNG
from streams.operate.processes import WorkerProcess, ended
from streams.ports import free_ports
from streams.settings import PREFIX, Settings
from streams.stall_timer import StallTimer

SESSION_SECONDS = 6.0
READY_SECONDS = 90.0
PAUSE_SECONDS = 0.05
RESTART_SECONDS = 0.3


@dataclass(slots=True)
class FaultWorker(WorkerProcess):
    """One worker of the system under test."""

    folder: Path = Path()
    held: bool = False
    """Whether the supervisor must not restart it."""
    exit_codes: list[int] = field(default_factory=list)
    _stops: bool = field(default=False, init=False)
    """Whether the trap stops the process."""

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        if self.running:
            assert self.process is not None
            self.process.send_signal(number)

    @property
    def amqp_port(self) -> int:
        """The port of AMQP, in a system that has one."""
        return int(self.environment["STREAMS_AMQP_PORT"])

    @property
    def _trap(self) -> Path:
        return Path(self.environment["FAULTS_TRAP"])

    def set_trap(self, pattern: str, step: str, action: str) -> None:
        """Make the worker fail at the next matching step; see `streams.lab.faults.worker`."""
        self._trap.with_suffix(SPRUNG).unlink(missing_ok=True)
        self._stops = action == "stop"
        made = self._trap.with_suffix(".new")
        made.write_text(f"{pattern} {step} {action}")
        made.rename(self._trap)

    @property
    def sprung(self) -> bool:
        """Whether the trap has sprung, and has done what it is for.

        The worker says so before it stops itself: a SIGCONT in between would leave it stopped
        for good.
        """
        return self._trap.with_suffix(SPRUNG).exists() and not (self._stops and self._goes_on)

    @property
    def _goes_on(self) -> bool:
        if not self.running:
            return False
        return os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None

    def clear_trap(self) -> None:
        """Remove the trap."""
        self._trap.unlink(missing_ok=True)

    def step_clock(self, seconds: int) -> None:
        """Set the worker's clock ahead of (or, if negative, behind) the true time."""
        Path(self.environment["FAULTS_CLOCK"]).write_text(str(seconds))


class FaultHarness:
    """The system under test; it is the only argument of a fault's `act`."""

    def __init__(
        self,
        brokers: Brokers,
        folder: Path,
        name: str,
        *,
        workers: int,
        partitions: int,
        linked: bool,
        more: dict[str, str],
        security: Security | None = None,
    ) -> None:
        self.brokers = brokers
        self.folder = folder
        self.notes: list[str] = []
        """Remarks for the result, besides its numbers."""
        self.broken: list[str] = []
        """Failed expectations of the fault itself."""
        self.poison = 0
        self.apart = "\0"
        """Start of the queues and groups whose messages the fault itself checks."""
        self.untouched: set[TablePartition] = set()
        self._touched = False
        self.answers = Answers()
        self.load: LoadGenerator
        self.monitor: ClusterMonitor
        self.ready_seconds = 0.0
        self._environment = {
            "STREAMS_BROKERS": brokers.bootstrap(),
            "STREAMS_NAMESPACE": name,
            "STREAMS_PARTITIONS": str(partitions),
            "STREAMS_REPLICATION": str(brokers.replication),
            "STREAMS_SESSION_TIMEOUT_SECONDS": f"{SESSION_SECONDS:g}",
            "STREAMS_CHECKPOINT_SECONDS": "0.5",
            "STREAMS_CACHE_BYTES": "32MiB",
            "STREAMS_WRITE_BUFFER_BYTES": "16MiB",
            **more,
        }
        self._scheme = "http"
        if security is not None:
            self._scheme = "https"
            self._environment |= security.gateway(name)
        if brokers.security is not None:
            self._environment |= brokers.security.kafka_client()
        known = {
            key: value
            for key, value in self._environment.items()
            if key.startswith(PREFIX) and key != "STREAMS_AMQP_PORT"
        }
        self.settings = Settings.from_env({**known, "STREAMS_DATA": str(folder)})
        self._linked = linked
        self.urls: list[str] = []
        """Gateway URLs; clients share this list."""
        self.workers: list[FaultWorker] = []
        self._made = 0
        self._base = self._worker_environment()
        for _ in range(workers):
            self._prepare_worker()
        self._supervisor: asyncio.Task[None] | None = None

    @staticmethod
    def _worker_environment() -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}

    def _prepare_worker(self) -> FaultWorker:
        number, self._made = self._made, self._made + 1
        used = {int(worker.url.rpartition(":")[2]) for worker in self.workers}
        (port,) = [p for p in free_ports(HOST, FIRST_PORT + 100, number + 1) if p not in used][:1]
        folder = self.folder / f"worker-{number + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **self._base,
            **self._environment,
            "STREAMS_DATA": str(folder / "data"),
            "STREAMS_HTTP_PORT": str(port),
            "FAULTS_TRAP": str(folder / "trap"),
            "FAULTS_CLOCK": str(folder / "clock"),
        }
        if "STREAMS_AMQP_PORT" in self._environment:
            (amqp_port,) = free_ports(HOST, port + 100, 1)
            environment["STREAMS_AMQP_PORT"] = str(amqp_port)
        if self._linked:
            link = number if number < len(self.brokers.links) else None
            environment["STREAMS_BROKERS"] = self.brokers.bootstrap(link)
        worker = FaultWorker(
            f"worker-{number + 1}",
            environment,
            folder / "worker.log",
            f"{self._scheme}://{HOST}:{port}",
            app="streams.lab.faults.worker",
            folder=folder / "data",
        )
        self.workers.append(worker)
        self.urls.append(worker.url)
        return worker

    # For the suite ------------------------------------------------------------------

    async def start(self, client: ProbeClient) -> None:
        """Start all workers and wait until they are ready."""
        self.monitor = ClusterMonitor(client, TABLES, self.settings.partitions)
        for worker in self.workers:
            worker.start()
            self.monitor.add(worker.url)
        self._supervisor = asyncio.create_task(self._supervise())
        await self.until(self.is_ready, READY_SECONDS, "the workers do not become ready")

    async def stop(self) -> None:
        """Stop all workers."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if hasattr(self, "monitor"):
            await self.monitor.close()
        for worker in self.workers:
            worker.clear_trap()
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for worker in self.workers:
            if worker.process is None:
                continue
            try:
                await asyncio.to_thread(worker.process.wait, max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.notes.append(f"{worker.name} did not stop, killed")
            worker.signal(signal.SIGKILL)

    async def _supervise(self) -> None:
        """Restart workers that exit, as a service supervisor would."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            for worker in self.workers:
                if worker.process is None or worker.held:
                    continue
                code = worker.process.poll()
                if code is not None:
                    worker.exit_codes.append(code)
                    await asyncio.sleep(RESTART_SECONDS)
                    if not worker.held:
                        worker.start()

    # For faults ---------------------------------------------------------------------

    @property
    def running(self) -> list[FaultWorker]:
        """The workers that should run."""
        return [worker for worker in self.workers if not worker.held]

    def is_ready(self) -> bool:
        """Return whether all workers that should run are ready and own every partition."""
        running = self.running
        return all(w.running for w in running) and self.monitor.is_ready([w.url for w in running])

    async def until(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> float:
        """Wait for a condition; return how many seconds it took.

        Raises:
            StreamsError: it did not become true in time.
        """
        began = time.monotonic()
        stall = StallTimer(seconds)
        while not condition():
            if stall.is_stalled(None):
                raise StreamsError(
                    f"{otherwise} within {seconds:g} s: {self.monitor.describe()}\n"
                    + await self.monitor.explain({})
                )
            if hasattr(self, "load"):
                self.load.check()
            await asyncio.sleep(PAUSE_SECONDS)
        return time.monotonic() - began

    async def until_ready(self, at_least: float = 0.0) -> None:
        """Wait until everything is ready again, and record how long that took.

        The first check is after `at_least` seconds, because a kill is not noticed at once.
        """
        await asyncio.sleep(at_least)
        took = at_least + await self.until(self.is_ready, READY_SECONDS, "not ready again")
        self.ready_seconds = max(self.ready_seconds, took)

    async def until_sprung(self, worker: FaultWorker, seconds: float = 30.0) -> None:
        """Wait until the worker's trap has sprung."""
        await self.until(lambda: worker.sprung, seconds, f"{worker.name} does not reach that step")

    def touch(self, *workers: FaultWorker) -> None:
        """Declare whose partitions a fault will affect: all others must make progress.

        Called again, it keeps as untouched only what no call has affected.
        """
        urls = {worker.url for worker in workers}
        owners = self.monitor.owners()
        others = {key for key, url in owners.items() if url not in urls}
        self.untouched = self.untouched & others if self._touched else others
        self._touched = True

    async def end(self, worker: FaultWorker, number: signal.Signals = signal.SIGKILL) -> None:
        """Stop a worker, and do not restart it."""
        worker.held = True
        worker.signal(number)
        await self.until(lambda: not worker.running, 30, f"{worker.name} does not exit")
        assert worker.process is not None
        worker.exit_codes.append(worker.process.returncode)
        self.monitor.views[worker.url].ready = False

    def begin(self, worker: FaultWorker) -> None:
        """Start a worker that was stopped."""
        worker.held = False
        worker.start()

    def add_worker(self) -> FaultWorker:
        """Start one more worker."""
        worker = self._prepare_worker()
        worker.start()
        self.monitor.add(worker.url)
        return worker

    async def remove_worker(self, worker: FaultWorker) -> None:
        """Stop an added worker for good."""
        self.urls.remove(worker.url)
        await self.end(worker, signal.SIGTERM)
        self.monitor.forget(worker.url)
        self.workers.remove(worker)
        self.notes.append(f"{worker.name} ended: {self.say_ends(worker)}")

    def expect(self, condition: bool, otherwise: str) -> None:
        """Record a failed expectation."""
        if not condition:
            self.broken.append(otherwise)

    def log_text(self, worker: FaultWorker) -> str:
        """Return the worker's log so far."""
        return worker.log.read_text(errors="replace") if worker.log.exists() else ""

    def say_ends(self, worker: FaultWorker) -> str:
        """Return how the worker has exited so far, in words."""
        return ", ".join(ended(code) for code in worker.exit_codes)
