"""Configuration that every librdkafka client of Streams starts from; imports no client."""

from __future__ import annotations

from typing import TypeAlias

ClientConfig: TypeAlias = dict[str, str | int | float | bool]


def client_config(brokers: str) -> ClientConfig:
    """Return the configuration of a client of `brokers` (`host:port,...`), without security."""
    return {
        "bootstrap.servers": brokers,
        "socket.nagle.disable": True,
        # librdkafka logs every attempt to connect; callers are told about errors anyway.
        "log_level": 2,
        # Try a broker that is back within about two seconds; the default is ten. The first pause
        # is also the one between bootstraps while no broker answers: at the default of 100 ms,
        # each client takes almost 1 % of a core then.
        "reconnect.backoff.ms": 500,
        "reconnect.backoff.max.ms": 2_000,
    }
