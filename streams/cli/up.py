"""`streams up`: runs broker, topics and workers in the foreground."""

from __future__ import annotations

import time
from typing import Any

import click

from streams.cli.base import StreamsCommand, option
from streams.settings import Settings

WORKERS_OPTION = option(
    "--workers", type=click.IntRange(min=1), default=1, help="Number of workers."
)

KAFKA_PORT_OPTION = option(
    "--kafka-port",
    type=click.IntRange(min=1, max=65535),
    help="Port of the embedded Kafka; default: the port in STREAMS_BROKERS, or 9092.",
)


def kafka_port_of(settings: Settings, given: int | None) -> int:
    """Return the port for the embedded Kafka."""
    return given or int(settings.brokers.split(",")[0].rpartition(":")[2])


class up(StreamsCommand):
    """Run a system until Ctrl-C: workers, topics, and Kafka unless STREAMS_BROKERS is set.

    A worker that exits is restarted.  Data and logs are under STREAMS_DATA.  The workers'
    ports are STREAMS_HTTP_PORT and the ones after it.
    """

    options = (WORKERS_OPTION, KAFKA_PORT_OPTION)

    def execute_now(self, workers: int, kafka_port: int | None, **_: Any) -> int:
        """Start everything, print the addresses, and restart workers that exit."""
        from streams.operate.system import system

        settings = Settings.from_env()
        try:
            port = kafka_port_of(settings, kafka_port)
            with system(settings, settings.data, workers, port) as running:
                click.echo(f"Kafka is at {running.settings.brokers}")
                for worker in running.workers.processes:
                    click.echo(f"{worker.name} is ready at {worker.url}, log {worker.log}")
                click.echo("Ctrl-C stops everything")
                while True:
                    running.mend()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
