"""Starts a whole system for one command: Kafka unless brokers are given, topics, workers.

The context managers stop what they start: workers first, so that they can write a last
checkpoint, then the broker.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from streams.amounts import counted
from streams.data_folder import ENDING_SECONDS, LOCK, DataFolder, owner
from streams.errors import StreamsError
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.topics import ensure_topics
from streams.operate.processes import Workers, workers
from streams.operate.progress import progress, say
from streams.ports import hold, private_ports, release, taken
from streams.settings import Settings
from streams.stall_timer import StallTimer
from streams.topics import product_topics

READY_SECONDS = 120.0
"""How long workers may take to become ready."""
PAUSE_SECONDS = 0.1
BROKER_FOLDER = "broker"
"""Folder of the embedded broker, under STREAMS_DATA."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system."""

    settings: Settings
    workers: Workers
    broker: EmbeddedKafka | None
    """The embedded broker, None if the command did not start one."""

    def check(self) -> None:
        """Raise StreamsError if a process that was started has exited."""
        if self.broker is not None:
            self.broker.check()
        self.workers.check()

    def mend(self) -> None:
        """Restart workers that have exited; raises StreamsError if they keep exiting."""
        if self.broker is not None:
            self.broker.check()
        self.workers.restart_dead()


@contextmanager
def system(
    settings: Settings,
    data: Path,
    count: int,
    kafka_port: int = 0,
    *,
    private: bool = False,
    fresh: bool = False,
) -> Iterator[System]:
    """Run a system of `count` workers with everything it keeps below `data`.

    Args:
        settings: the settings of the workers.
        data: the folder of the system; it belongs to this process until the end.
        count: how many workers.
        kafka_port: port of the embedded Kafka, 0 for a free one.
        private: whether the workers get free ports, instead of STREAMS_HTTP_PORT and those
            after it.
        fresh: whether to empty the folder first, once nothing uses it any more.

    Raises:
        StreamsError: a folder or a port is taken, or something could not be started; all that
            was started is stopped.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(DataFolder(data))
        _wait_for_leftovers(data)
        if fresh:
            folder.empty()
        host = settings.http_host
        ports = (
            private_ports(count, host) if private else _hold_ports(host, settings.http_port, count)
        )
        stack.callback(release, ports)
        if kafka_port in ports and not settings.brokers_given:
            raise StreamsError(
                f"port {kafka_port} is meant for Kafka and for a worker: choose another "
                "--kafka-port or STREAMS_HTTP_PORT"
            )
        broker = None
        if not settings.brokers_given:
            broker = stack.enter_context(embedded_broker(folder.folder / BROKER_FOLDER, kafka_port))
            settings = replace(settings, brokers=broker.brokers, brokers_given=True)
        with progress("creating and checking the topics"):
            ensure_topics(settings.librdkafka(), product_topics(settings))
        running = stack.enter_context(
            workers(count, data, host, ports, {"STREAMS_BROKERS": settings.brokers})
        )
        stack.callback(say, "stopping the workers")
        started = System(settings, running, broker)
        wait_until_ready(started)
        yield started


def _wait_for_leftovers(data: Path) -> None:
    """Wait until the processes of a command that was killed have ended.

    Raises:
        FolderInUse: one is still there after `ENDING_SECONDS`.
    """
    for lock in sorted(data.glob(f"*/{LOCK}")):
        pid = owner(lock.parent)
        if pid is not None:
            say(f"process {pid} still uses {lock.parent}: waiting for it to end")
            with suppress(FileNotFoundError):
                folder = DataFolder(lock.parent)
                folder.take(ENDING_SECONDS)
                folder.give_up()


def _hold_ports(host: str, first: int, count: int) -> list[int]:
    """Hold the ports from `first` on, which clients know.

    Raises:
        StreamsError: one is taken.
    """
    ports = list(range(first, first + count))
    for port in ports:
        if not hold(port, host):
            release(ports)
            raise StreamsError(taken(port, host))
    return ports


@contextmanager
def embedded_broker(data: Path, port: int = 0) -> Iterator[EmbeddedKafka]:
    """Run the embedded broker, at a port of its own or a free one."""
    broker = EmbeddedKafka(data, port)
    with progress("starting Kafka"):
        broker.start(show_download)
    try:
        yield broker
    finally:
        with progress("stopping Kafka"):
            broker.stop()


def show_download(done: int, total: int) -> None:
    """Print how much of Kafka is downloaded; only the first start does that."""
    if done == total or done % max(1, total // 5) == 0:
        say(f"downloading Kafka: {done} of {counted(total, 'file')}")


def wait_until_ready(started: System) -> None:
    """Wait until every worker is ready.

    Raises:
        StreamsError: a worker has exited, or takes too long.
    """
    urls = started.workers.urls
    stall = StallTimer(READY_SECONDS)
    with progress(f"starting {counted(len(urls), 'worker')}"):
        for url in urls:
            while not is_ready(url, started.settings):
                started.check()
                if stall.is_stalled(None):
                    logs = ", ".join(str(worker.log) for worker in started.workers.processes)
                    raise StreamsError(f"workers are not ready in {READY_SECONDS:g} s; see {logs}")
                time.sleep(PAUSE_SECONDS)


def is_ready(url: str, settings: Settings) -> bool:
    """Return whether the worker at `url` is ready."""
    try:
        tls = settings.http_client_tls() if url.startswith("https:") else None
        with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=tls) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
