"""The metrics of AMQP."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge


class AMQPMetrics:
    """Counts messages; gauges ask the functions given."""

    def __init__(
        self,
        registry: CollectorRegistry,
        connections: Callable[[], float],
        channels: Callable[[], float],
        consumers: Callable[[], float],
    ) -> None:
        """Take the registry, and what counts connections, channels and consumers."""
        self.published = Counter(
            "streams_amqp_published", "Messages that AMQP clients sent.", registry=registry
        )
        self.delivered = Counter(
            "streams_amqp_delivered", "Deliveries sent to AMQP consumers.", registry=registry
        )
        for name, text, value in (
            ("connections", "AMQP clients that have logged in.", connections),
            ("channels", "Channels of AMQP clients.", channels),
            ("consumers", "Consumers of AMQP clients.", consumers),
        ):
            Gauge(f"streams_amqp_{name}", text, registry=registry).set_function(value)
