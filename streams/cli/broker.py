"""`streams broker`: runs the embedded Kafka in the foreground."""

from __future__ import annotations

import time
from typing import Any

import click

from streams.cli.base import StreamsCommand
from streams.cli.up import KAFKA_PORT_OPTION, kafka_port_of
from streams.settings import Settings


class broker(StreamsCommand):
    """Run an embedded Kafka until Ctrl-C, with its data under STREAMS_DATA."""

    options = (KAFKA_PORT_OPTION,)

    def execute_now(self, kafka_port: int | None, **_: Any) -> int:
        """Start the broker, print its address, and wait."""
        from streams.kafka.embedded.cluster import EmbeddedKafka
        from streams.operate.progress import progress
        from streams.operate.system import BROKER_FOLDER, show_download

        settings = Settings.from_env()
        kafka = EmbeddedKafka(settings.data / BROKER_FOLDER, kafka_port_of(settings, kafka_port))
        try:
            with progress("starting Kafka"):
                kafka.start(show_download)
            click.echo(f"Kafka is ready at {kafka.brokers}, its data is in {kafka.data}")
            click.echo("Ctrl-C stops it")
            while True:
                kafka.check()
                time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
        finally:
            with progress("stopping Kafka"):
                kafka.stop()
