"""Kafka's own command line tools, run from the embedded Kafka's jars."""

from __future__ import annotations

from typing import Final

from streams.kafka.embedded.node import java_command

TOOLS: Final = {
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "topics": "org.apache.kafka.tools.TopicCommand",
}
"""Main class of each tool, by its name without `kafka-` and `.sh`."""


def kafka_tool(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a tool of `TOOLS`, for subprocess or exec.

    Raises:
        BrokerError: Java or the jars are missing.
    """
    return java_command(TOOLS[name], *arguments)
