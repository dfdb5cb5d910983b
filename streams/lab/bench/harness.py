"""The environment of benches: one broker, and for each run a system in a fresh namespace.

`BenchHarness` owns the broker and starts systems.  A `RunningSystem` can receive events while its
workers are suspended, so that a bench measures the workers alone, without the producer.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from confluent_kafka.admin import AdminClient

from streams.errors import StreamsError
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.topics import ensure_topics
from streams.lab.bench.figures import Measurement
from streams.lab.bench.producing import EncodedEvent, EventProducer
from streams.lab.bench.progress import ProgressProbe, StatusClient
from streams.lab.bench.usage import BROKER, WORKER, Meter, Usage
from streams.operate.processes import WorkerProcess, Workers, workers
from streams.operate.system import System, show_download, wait_until_ready
from streams.ports import free_ports, release
from streams.settings import Settings
from streams.topics import product_topics

PATIENT_SECONDS: Final = 600
"""Session timeout of the workers: a suspended one must keep its partitions."""
SPOT_READS: Final = 20


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `streams bench`."""

    workers: int = 1
    runs: int = 3
    quick: bool = False
    baseline: bool = True
    queues: int = 10_000_000
    """Number of queues that the bench `scale` goes up to."""
    bindings: int = 2
    """Number of groups that each of them is bound to."""

    def size(self, full: int, quick: int) -> int:
        """Return the size for a full or a quick run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Drained:
    """The time that a suspended system needed for its backlog, once resumed."""

    events: int
    seconds: float
    """Time until everything was readable."""
    usage: Usage
    """Usage until then."""
    total: Usage
    """Usage until the checkpoints were written too: they are part of the cost."""

    @property
    def worker_micros(self) -> float:
        """CPU time of the workers per event, in microseconds."""
        return self.total.cpu[WORKER] * 1e6 / self.events

    def micros(self, of: str, each: int = 1) -> list[Measurement]:
        """Return the workers' CPU time in parts, per event or per one of its `each` results."""
        return self.total.micros(of, self.events * each)


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """A running system: its settings, workers and progress."""

    settings: Settings
    processes: list[WorkerProcess]
    positions: ProgressProbe
    feeder: EventProducer
    meter: Meter
    data: Path

    @property
    def urls(self) -> list[str]:
        """Base URLs of the workers."""
        return [worker.url for worker in self.processes]

    def feed(self, events: Iterable[EncodedEvent]) -> int:
        """Send group events; return their number once Kafka has confirmed them."""
        return self.feeder.feed(self.settings.group_events, events)

    def settle(self, events: Iterable[EncodedEvent]) -> int:
        """Send group events and wait until the system is idle; return their number."""
        count = self.feed(events)
        self.positions.until_quiet()
        return count

    def drain(self, events: Iterable[EncodedEvent]) -> Drained:
        """Send events while the workers are suspended, then measure how long they take.

        The clock starts when the workers resume, and stops when the last resulting row can be
        read from the last table.
        """
        self.positions.until_quiet()
        with self.standstill():
            count = self.feed(events)
            ends = self.positions.ends(self.settings.group_events)
            self.meter.start()
            began = time.monotonic()
        seconds = self.positions.until_readable(ends) - began
        usage = self.meter.read()
        self.positions.until_quiet()
        return Drained(count, seconds, usage, self.meter.read())

    def expect(self, wanted: Mapping[str, int], of: Literal["groups", "depth"]) -> None:
        """Check the number of groups or messages of some queues over HTTP.

        Raises:
            StreamsError: a number is wrong, so the measurement is invalid.
        """
        asker = StatusClient(self.urls[0])
        queues = sorted(wanted)
        for queue in random.Random(1).sample(queues, min(SPOT_READS, len(queues))):
            found = asker.get(f"/v1/queues/{quote(queue, safe='')}")[of]
            if found != wanted[queue]:
                raise StreamsError(f"{of} of {queue}: {found}, not {wanted[queue]}")
        asker.close()

    @contextmanager
    def standstill(self) -> Iterator[None]:
        """Suspend all workers while the body runs."""
        with standstill(self.processes):
            yield


@contextmanager
def standstill(processes: Iterable[WorkerProcess]) -> Iterator[None]:
    """Suspend processes with SIGSTOP; resume them after the body."""
    running = [worker.process for worker in processes if worker.process is not None]
    try:
        for process in running:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGCONT)


@dataclass(slots=True)
class BenchHarness:
    """One Kafka, and a sequence of systems on it."""

    settings: Settings
    options: Options
    folder: Path
    broker: EmbeddedKafka | None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def system(self, environment: Mapping[str, str] | None = None) -> Iterator[RunningSystem]:
        """Run a system with the number of workers in the options, in a fresh namespace.

        `environment` is added to the workers' environment, and takes precedence.
        """
        with self._fresh(environment or {}, self.options.workers, "streams.app") as started:
            settings, running, data = started
            wait_until_ready(System(settings, running, self.broker))
            with ProgressProbe(settings, running.urls) as positions:
                positions.until(lambda look: look.ready)
                meter = self.meter(running.processes)
                feeder = EventProducer(settings)
                yield RunningSystem(settings, running.processes, positions, feeder, meter, data)
                running.check()

    @contextmanager
    def stock(self) -> Iterator[tuple[Settings, WorkerProcess, Meter]]:
        """Run one worker of the baseline in a fresh namespace."""
        with self._fresh({}, 1, "streams.lab.bench.stock") as (settings, running, _):
            (worker,) = running.processes
            yield settings, worker, self.meter([worker])
            running.check()

    @contextmanager
    def topics(self) -> Iterator[Settings]:
        """Create the topics of a fresh namespace, without workers."""
        settings = replace(self.settings, namespace=self._namespace())
        ensure_topics(settings.librdkafka(), product_topics(settings))
        try:
            yield settings
        finally:
            delete_topics(settings)

    def meter(self, processes: Iterable[WorkerProcess]) -> Meter:
        """Return a meter for workers and broker."""
        pids = [w.process.pid for w in processes if w.process is not None]
        brokers = self.broker.nodes if self.broker is not None else []
        return Meter({WORKER: pids, BROKER: [n.pid for n in brokers if n.pid is not None]})

    @contextmanager
    def _fresh(
        self, more: Mapping[str, str], count: int, app: str
    ) -> Iterator[tuple[Settings, Workers, Path]]:
        with self.topics() as settings:
            data = self.folder / settings.namespace
            environment = {
                "STREAMS_BROKERS": settings.brokers,
                "STREAMS_NAMESPACE": settings.namespace,
                "STREAMS_PARTITIONS": str(settings.partitions),
                "STREAMS_REPLICATION": str(settings.replication),
                "STREAMS_SESSION_TIMEOUT_SECONDS": str(PATIENT_SECONDS),
                **more,
            }
            ports = free_ports(settings.http_host, settings.http_port, count)
            try:
                with workers(count, data, settings.http_host, ports, environment, app) as running:
                    yield settings, running, data
            finally:
                release(ports)
                for number in range(1, count + 1):  # the logs stay until all benches have succeeded
                    shutil.rmtree(data / f"worker-{number}", ignore_errors=True)

    def _namespace(self) -> str:
        return f"bench-{os.getpid()}-{next(self._numbers)}"


@contextmanager
def harness(settings: Settings, options: Options) -> Iterator[BenchHarness]:
    """Start a broker unless one is configured; stop it and clean up after the body.

    After a failure, the logs stay in a folder of this process.
    """
    folder = settings.data / "bench" / str(os.getpid())
    with ExitStack() as stack:
        broker = None
        if not settings.brokers_given:
            broker = EmbeddedKafka(folder / "broker")
            broker.start(show_download)
            for node in broker.nodes:
                stack.callback(shutil.rmtree, node.folder / "log", ignore_errors=True)
            stack.callback(broker.stop)
            settings = replace(settings, brokers=broker.brokers, brokers_given=True)
        yield BenchHarness(settings, options, folder, broker)
    shutil.rmtree(folder, ignore_errors=True)


def delete_topics(settings: Settings) -> None:
    """Delete the existing topics of a namespace."""
    names = [topic.name for topic in product_topics(settings)]
    admin = AdminClient(dict(settings.librdkafka()) | {"log_level": 0})
    for future in admin.delete_topics(names).values():
        future.exception(30.0)
