"""The worker of the product: `build` does all the work, importing does none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from streams.engine import EngineOptions
from streams.settings import Settings
from streams.topics import product_topics
from streams.worker import build, engine_options

SETTINGS = Settings.from_env(
    {
        "STREAMS_NAMESPACE": "ns",
        "STREAMS_PARTITIONS": "3",
        "STREAMS_REPLICATION": "2",
        "STREAMS_RETENTION_HOURS": "1",
        "STREAMS_CHECKPOINT_ROWS": "7",
    }
)


def test_importing_it_reads_no_settings(tmp_path: Path) -> None:
    # Given an environment that the settings would refuse
    environment = {"PATH": "", "STREAMS_PARTITIONS": "many", "HOME": str(tmp_path)}

    # When the module is imported, Then nothing is refused, and nothing is made
    subprocess.run(
        [sys.executable, "-c", "import streams.worker"], env=environment, cwd=tmp_path, check=True
    )
    assert not list(tmp_path.iterdir())


def test_workers_and_commands_mean_the_same_topics() -> None:
    app = build(SETTINGS)

    assert {topic.name: topic for topic in app.engine.topics} == {
        topic.name: topic for topic in product_topics(SETTINGS)
    }


def test_topics_are_configured_as_the_settings_say() -> None:
    topics = {topic.name: topic for topic in product_topics(SETTINGS)}

    assert list(topics) == [
        "ns.group-events",
        "ns.queue-events",
        "ns.dead-letters",
        "ns.streams-members-changelog",
        "ns.streams-queues-changelog",
    ]
    assert {(topic.partitions, topic.replication) for topic in topics.values()} == {(3, 2)}
    assert topics["ns.group-events"].config == {
        "min.insync.replicas": "1",
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "3600000",
        "max.message.bytes": "2097152",
    }
    assert topics["ns.dead-letters"].config == {
        "min.insync.replicas": "1",
        "cleanup.policy": "delete",
        "retention.ms": "3600000",
        "max.message.bytes": "4194304",
    }
    assert topics["ns.streams-queues-changelog"].config["delete.retention.ms"] == "604800000"


def test_every_setting_of_the_engine_reaches_it() -> None:
    options = engine_options(SETTINGS)
    same = {field.name for field in fields(Settings)} & {
        field.name for field in fields(EngineOptions)
    }

    assert {name: getattr(options, name) for name in same} == {
        name: getattr(SETTINGS, name) for name in same
    }
    assert {"data", "partitions", "checkpoint_rows", "write_buffer_bytes"} <= same
    assert options.app_id == "ns.streams"
    assert options.client == SETTINGS.librdkafka()
