"""For commands that write changelogs while no worker runs: that none does, and none goes on."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import KafkaException

from streams.amounts import counted
from streams.engine.changelog import ChangelogWriter
from streams.errors import StreamsError
from streams.folds.tables import TABLES
from streams.kafka.clients import open_admin
from streams.kafka.errors import unavailable
from streams.settings import Settings

_ANSWER_SECONDS: Final = 10.0
_THREADS: Final = 8


def check_no_workers(settings: Settings, what: str) -> None:
    """Check that Kafka knows no running worker of the namespace.

    Args:
        settings: of the namespace.
        what: what to do once they are stopped, for the message.

    Raises:
        StreamsError: there are workers.
        Unavailable: Kafka does not answer.
    """
    group = settings.app_id
    admin = open_admin(settings.librdkafka())
    try:
        found = admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)
        members = found[group].result(_ANSWER_SECONDS).members
    except KafkaException as error:
        if "GROUP_ID_NOT_FOUND" in str(error):
            return
        raise unavailable(f"the members of the group {group}", error) from error
    if members:
        name = settings.namespace or "without a name"
        raise StreamsError(
            f"the namespace {name} has {counted(len(members), 'running worker')}: stop all of them,"
            f" {what}, and start them again"
        )


def fence(settings: Settings, partitions: Iterable[int]) -> None:
    """Make sure that no worker that was open before can write to these partitions of both tables.

    Raises:
        ChangelogBroken: Kafka has refused it.
    """

    def one(place: tuple[str, int]) -> None:
        table, number = place
        writer = ChangelogWriter(
            settings.changelog(table),
            number,
            settings.librdkafka(),
            f"{settings.app_id}-{table}-{number}",
            lambda: False,
        )
        try:
            writer.open()
        finally:
            writer.close()

    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(one, [(table, number) for table in TABLES for number in partitions]))
