"""`streams topics`: creates the topics, or checks existing ones."""

from __future__ import annotations

from typing import Any

import click

from streams.amounts import counted
from streams.cli.base import StreamsCommand, option
from streams.settings import Settings


class topics(StreamsCommand):
    """Create missing topics; check partitions, replication and retention of all."""

    options = (option("--check", is_flag=True, help="Only check; create nothing."),)

    def execute_now(self, check: bool, **_: Any) -> int:
        """Create missing topics, check all, and list them."""
        from streams.kafka.topics import TopicsError, check_topics, ensure_topics
        from streams.topics import product_topics

        settings = Settings.from_env()
        created: list[str] = []
        try:
            if check:
                check_topics(settings.librdkafka(), product_topics(settings))
            else:
                created = ensure_topics(settings.librdkafka(), product_topics(settings)).created
        except TopicsError as error:
            for line in str(error).splitlines():
                click.echo(f"streams: {line}", err=True)
            click.echo(
                "streams: `streams topics` creates missing topics; STREAMS_PARTITIONS and "
                "STREAMS_REPLICATION set their size",
                err=True,
            )
            return 1
        for topic in product_topics(settings):
            state = "created" if topic.name in created else "is as it should be"
            click.echo(
                f"{topic.name} {state}: {counted(topic.partitions, 'partition')},"
                f" replication {topic.replication}"
            )
        return 0
