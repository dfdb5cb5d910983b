"""`streams up`: broker, topics and workers in one foreground command."""

from __future__ import annotations

import time
from typing import Any

import click
from faust.cli.base import option

from streams.cli.base import StreamsCommand
from streams.settings import Settings

WORKERS_OPTION = option(
    "--workers", type=click.IntRange(min=1), default=1, help="How many workers to start."
)


class up(StreamsCommand):
    """Run a whole system until Ctrl-C: Kafka (unless STREAMS_BROKERS is set), topics, workers.

    A worker that ends is started again.  Data and logs are under STREAMS_DATA, the workers'
    ports are STREAMS_HTTP_PORT and those after it.
    """

    options = (WORKERS_OPTION,)

    def execute_now(self, workers: int, **_: Any) -> int:
        """Start everything, say where it is, and watch over it."""
        from streams.operate.system import system

        settings = Settings.from_env()
        try:
            with system(settings, settings.data, workers) as running:
                click.echo(f"Kafka is at {running.settings.brokers}")
                for worker in running.workers.processes:
                    click.echo(f"{worker.name} is ready at {worker.url}, log {worker.log}")
                click.echo("Ctrl-C stops everything")
                while True:
                    running.mend()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
