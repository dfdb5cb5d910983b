"""What `/metrics` shows, in Prometheus' conventions.

The gateway's own counters, and at each scrape what the engine says of its partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.gateway.inbox_wait import InboxWaits

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The metrics of one worker, in a registry of its own."""

    def __init__(self, status: Callable[[], dict[str, Any]], waits: InboxWaits) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(_Partitions(status))
        self.requests = Counter(
            "streams_http_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "streams_http_request_seconds",
            "Time from the head of a request to the end of its answer, waiting included.",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.forwarded = Counter(
            "streams_http_forwarded",
            "Requests handed on to the worker that owns the partition.",
            ("outcome",),
            registry=registry,
        )
        self.publishes = Counter(
            "streams_publishes",
            "Events that HTTP clients published and Kafka confirmed.",
            ("type",),
            registry=registry,
        )
        self.publishes_failed = Counter(
            "streams_publishes_failed",
            "Events that Kafka did not confirm in time.",
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "streams_publish_seconds",
            "Time until Kafka confirmed what one request published.",
            registry=registry,
            buckets=_SECONDS,
        )
        Gauge(
            "streams_long_polls", "Requests that wait for a message.", registry=registry
        ).set_function(lambda: len(waits))


_GAUGES = {
    "ready": ("ready", "1 when the partition answers reads."),
    "position": ("position", "Next offset of the source topic to be folded."),
    "end": ("end", "End of the source topic's partition."),
    "lag": ("lag_records", "Records of the source topic not folded yet."),
    "checkpointed": ("checkpointed", "Source offset of the last checkpoint."),
    "checkpoint_seconds": ("checkpoint_seconds", "How long the last checkpoint took."),
    "checkpoint_rows": ("checkpoint_rows", "Rows that the last checkpoint wrote."),
    "overlay_rows": ("overlay_rows", "Changed rows that no checkpoint has written yet."),
}
_COUNTERS = {
    "folded": ("folded_records", "Records folded."),
    "dead_letters": ("dead_letters", "Records that could not be folded."),
    "failures": ("failures", "Times that the partition had to be opened afresh."),
    "restored_rows": ("restored_rows", "Changelog records read back."),
}
"""Of this worker's partitions in the engine's status: name there, name here, help."""


class _Partitions(Collector):
    """Reads the engine's status at each scrape."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Keep the registry from scraping while it registers."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each number that this worker's partitions have."""
        own = [row for row in self._status()["partitions"] if "state" in row]
        for kind, names in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for key, (name, text) in names.items():
                family = kind(f"streams_partition_{name}", text, labels=("table", "partition"))
                for row in own:
                    if row[key] is not None:
                        family.add_metric([row["table"], str(row["partition"])], row[key])
                yield family
