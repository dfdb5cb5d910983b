"""The Kafka clients of Streams: readers and producers with a common base configuration.

Everything that reads or writes Kafka through librdkafka makes its client here.  The public
client library (`streams.client`) does not: it depends on nothing else in this package.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from streams.repeats import REPEATING

logger = logging.getLogger("streams.kafka")

RECORD_BYTES = 2 << 20
"""Largest record batch that producers send; the topics accept the same."""


def open_reader(
    client: Mapping[str, Any], name: str, config: Mapping[str, Any] | None = None
) -> Consumer:
    """Return a consumer that reads the partitions it is assigned by hand, from any offset.

    Args:
        client: brokers and security, see `streams.kafka.defaults.client_config`.
        name: what the reader is for; names it in Kafka's and in our logs.
        config: configuration of this reader; it wins over the common one.
    """
    common = {
        "group.id": name,  # librdkafka requires one; the group is never joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "log.connection.close": False,
    }
    return Consumer(
        {**common, **client, **(config or {})},
        error_cb=lambda error: logger.info("reader %s: %s", name, error.str(), extra=REPEATING),
        logger=logger,
    )


def open_producer(
    client: Mapping[str, Any],
    config: Mapping[str, Any],
    on_error: Callable[[KafkaError], None] | None = None,
) -> Producer:
    """Return a producer that puts each key into the partition that Kafka's own clients choose.

    Args:
        client: brokers and security, see `streams.kafka.defaults.client_config`.
        config: configuration of this producer; it wins over the common one.
        on_error: called with errors of the client as a whole; by default they are dropped,
            for callers that look at the report of each record.
    """
    common = {
        "partitioner": "murmur2_random",
        "message.max.bytes": RECORD_BYTES,
        "log.connection.close": False,
    }
    return Producer(
        {**common, **client, **config},
        error_cb=on_error or (lambda _error: None),
        logger=logger,
    )


def open_admin(client: Mapping[str, Any]) -> AdminClient:
    """Return a client that asks about the cluster, and changes topics.

    It bootstraps again while no broker answers: it still finds Kafka when the addresses of all
    brokers have changed.  Without that, one that asks for the topics meanwhile never sleeps.
    """
    return AdminClient({**client, "metadata.recovery.strategy": "rebootstrap"})


def _worth_reading(record: logging.LogRecord) -> bool:
    # At each start librdkafka warns that `enable.gapless.guarantee` is experimental;
    # `streams.engine.output` sets it on purpose.
    return "CONFWARN" not in record.getMessage()


logger.addFilter(_worth_reading)
