"""The gateway's own counters and histograms, for `/metrics`.

`collectors` has the metrics that are read from elsewhere at each scrape.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from streams.folds.tables import TABLES
from streams.gateway.reads.long_polls import LongPolls

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The metrics of one worker, in a registry of its own."""

    def __init__(self, long_polls: LongPolls) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Counter(
            "streams_http_requests",
            "HTTP requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._answered: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}
        self.request_seconds = Histogram(
            "streams_http_request_seconds",
            "Time from the head of a request to the end of its response, long polls included.",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.forwarded = Counter(
            "streams_http_forwarded",
            "Requests forwarded to the worker that owns the partition.",
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
            "Time until Kafka confirmed the events of one request.",
            registry=registry,
            buckets=_SECONDS,
        )
        Gauge(
            "streams_long_polls", "Requests waiting for a message.", registry=registry
        ).set_function(lambda: len(long_polls))
        self.checkpoint_seconds = Histogram(
            "streams_checkpoint_seconds",
            "Duration of a checkpoint, from the confirmation of its outputs to the database.",
            ("table",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.checkpoint_rows = Counter(
            "streams_checkpoint_rows",
            "Rows written by checkpoints.",
            ("table",),
            registry=registry,
        )
        self.loop_lag_seconds = Histogram(
            "streams_event_loop_lag_seconds",
            "Delay of the event loop, measured ten times a second.",
            registry=registry,
            buckets=_SECONDS,
        )

        # Present from the start, so that their rate is 0 and not missing.
        for table in TABLES:
            self.checkpoint_seconds.labels(table)
            self.checkpoint_rows.labels(table)
        for outcome in ("answered", "failed"):
            self.forwarded.labels(outcome)
        for kind in ("Ack", "Bind", "Close", "Message", "Open", "Unbind"):
            self.publishes.labels(kind)

    def answered(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count an answered request."""
        found = self._answered.get((method, route, status))
        if found is None:
            found = self._answered[method, route, status] = (
                self.requests.labels(method, route, status),
                self.request_seconds.labels(route),
            )
        count, histogram = found
        count.inc()
        histogram.observe(seconds)

    def publish_buckets(self) -> list[tuple[float, int]]:
        """Return pairs of an upper limit in seconds and how many requests took no longer."""
        return [
            (float(sample.labels["le"]), int(sample.value))
            for metric in self.publish_seconds.collect()
            for sample in metric.samples
            if sample.name.endswith("_bucket")
        ]
