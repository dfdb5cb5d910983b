"""What a worker meets only after running for long, brought forward by settings."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

from two_workers import IMPATIENT, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import workers
from streams.ports import free_ports

HEARTBEATS_SECONDS = 4.0
"""Heartbeat every second: a consumer that is not polled would leave at the first one."""


def test_a_worker_stays_in_its_group_without_a_poll(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    # Given a worker whose aiokafka consumer is never polled, with a short poll interval
    environment = {
        "STREAMS_BROKERS": kafka.brokers,
        "STREAMS_NAMESPACE": "long-runs",
        "STREAMS_PARTITIONS": "2",
        **IMPATIENT,
    }
    ports = free_ports("127.0.0.1", 17966, 1)
    with workers(1, tmp_path, "127.0.0.1", ports, environment) as running:
        wait_until_ready(running)
        generation = _generation(running.urls[0])
        # When several heartbeats have passed since
        time.sleep(HEARTBEATS_SECONDS)
        # Then it is ready, and has not left the group in between
        wait_until_ready(running)
        assert _generation(running.urls[0]) == generation


def _generation(url: str) -> int:
    with urllib.request.urlopen(f"{url}/v1/cluster", timeout=120) as answer:
        return int(json.load(answer)["generation"])
