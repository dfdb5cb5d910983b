"""`python -m streams.operate.console TOPIC [OPTION...]`: Kafka's console consumer.

It prints time, partition, offset, headers and key of every record, but not the value, which is
Avro: `streams tail` decodes that.  Further options are passed to the console consumer.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import StreamsError
from streams.kafka.embedded.jars import BrokerError
from streams.kafka.embedded.tools import kafka_tool
from streams.operate.topic_names import full_name
from streams.settings import Settings

_SHOWN: Final = ("timestamp", "partition", "offset", "headers", "key")


def console_command(settings: Settings, topic: str, *options: str) -> list[str]:
    """Return the command that reads a topic from its beginning, in the settings' namespace.

    Raises:
        BrokerError: there is no such topic, no Kafka answers, or it requires credentials.
    """
    if settings.kafka_security_protocol != "PLAINTEXT":
        raise BrokerError(
            "the console has no credentials for this Kafka: use your cluster's console consumer"
        )
    topic = full_name(settings, topic)
    admin = AdminClient(settings.librdkafka() | {"log_level": 0})
    try:
        topics = admin.list_topics(timeout=5).topics
    except KafkaException:
        raise BrokerError(
            f"no Kafka answers at {settings.brokers}: start one with `streams broker`, or "
            "set STREAMS_BROKERS to your brokers"
        ) from None
    if topic not in topics:
        there = ", ".join(sorted(t for t in topics if not t.startswith("__"))) or "none"
        raise BrokerError(f"there is no topic {topic}; there are: {there}")
    return kafka_tool(
        "console-consumer",
        *("--bootstrap-server", settings.brokers, "--topic", topic, "--from-beginning"),
        *("--isolation-level", "read_committed"),
        *(word for name in _SHOWN for word in ("--formatter-property", f"print.{name}=true")),
        *("--formatter-property", "print.value=false"),
        *options,
    )


def main() -> None:
    """Replace this process with the console consumer."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m streams.operate.console TOPIC [OPTION...]")
    try:
        command = console_command(Settings.from_env(), *sys.argv[1:])
    except StreamsError as error:
        sys.exit(str(error))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
