"""What a worker meets only after running for long, brought forward by settings."""

from __future__ import annotations

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
        # When several heartbeats have passed since
        end = time.monotonic() + HEARTBEATS_SECONDS
        while time.monotonic() < end:
            # Then it is ready throughout
            urllib.request.urlopen(f"{running.urls[0]}/readyz", timeout=120).close()
            time.sleep(0.1)
