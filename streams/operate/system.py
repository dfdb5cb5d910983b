"""Starts a whole system for one command: Kafka unless there is one, topics, workers.

What a context manager here starts, it stops: workers first, so that they can write their
last checkpoint, then the broker.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from streams.errors import StreamsError
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.embedded.node import is_free
from streams.kafka.topics import ensure_topics
from streams.operate.processes import Workers, free_ports, workers
from streams.operate.progress import progress, say
from streams.settings import Settings
from streams.topics import product_topics

READY_SECONDS = 120.0
"""How long workers may take until they answer reads."""
PAUSE_SECONDS = 0.1
BROKER_FOLDER = "broker"
"""Folder of the embedded broker, under STREAMS_DATA."""


@dataclass(frozen=True, slots=True)
class System:
    """A running system."""

    settings: Settings
    workers: Workers
    broker: EmbeddedKafka | None
    """The embedded broker, None when the cluster is somebody else's."""

    def check(self) -> None:
        """Raise StreamsError if anything that was started has ended."""
        if self.broker is not None:
            self.broker.check()
        self.workers.check()

    def mend(self) -> None:
        """Start workers again that have ended; raises StreamsError if that is hopeless."""
        if self.broker is not None:
            self.broker.check()
        self.workers.restart_dead()


@contextmanager
def system(settings: Settings, data: Path, count: int) -> Iterator[System]:
    """Run a system of `count` workers with everything it keeps below `data`.

    Raises:
        StreamsError: something could not be started; all that was started is stopped.
    """
    with ExitStack() as stack:
        broker = None
        if not settings.brokers_given:
            broker = stack.enter_context(embedded_broker(settings, data / BROKER_FOLDER))
            settings = replace(settings, brokers=broker.brokers, brokers_given=True)
        with progress("creating and checking the topics"):
            ensure_topics(settings.librdkafka(), product_topics(settings))
        ports = free_ports(settings.http_host, settings.http_port, count)
        running = stack.enter_context(
            workers(count, data, settings.http_host, ports, {"STREAMS_BROKERS": settings.brokers})
        )
        stack.callback(say, "stopping the workers")
        started = System(settings, running, broker)
        wait_until_ready(started)
        yield started


@contextmanager
def embedded_broker(settings: Settings, data: Path) -> Iterator[EmbeddedKafka]:
    """Run the embedded broker, at the port of STREAMS_BROKERS' default if that is free."""
    port = int(settings.brokers.rpartition(":")[2])
    broker = EmbeddedKafka(data, port if is_free(port) else 0)
    with progress("starting Kafka"):
        broker.start(show_download)
    try:
        yield broker
    finally:
        with progress("stopping Kafka"):
            broker.stop()


def show_download(done: int, total: int) -> None:
    """Say how much of Kafka is here; the first start downloads it."""
    if done == total or done % max(1, total // 5) == 0:
        say(f"getting Kafka: {done} of {total} files")


def wait_until_ready(started: System) -> None:
    """Wait until every worker answers reads.

    Raises:
        StreamsError: one has ended, or takes too long.
    """
    urls = started.workers.urls
    deadline = time.monotonic() + READY_SECONDS
    with progress(f"starting {len(urls)} worker{'s' if len(urls) > 1 else ''}"):
        for url in urls:
            while not is_ready(url, started.settings):
                started.check()
                if time.monotonic() > deadline:
                    logs = ", ".join(str(worker.log) for worker in started.workers.processes)
                    raise StreamsError(f"workers are not ready in {READY_SECONDS:g} s; see {logs}")
                time.sleep(PAUSE_SECONDS)


def is_ready(url: str, settings: Settings) -> bool:
    """Tell whether the worker at `url` answers reads."""
    try:
        tls = settings.http_client_tls() if url.startswith("https:") else None
        with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=tls) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
