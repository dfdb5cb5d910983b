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
        # Try a broker that is back within two seconds; the default is ten. The first pause is as
        # long: it is also the one between bootstraps while no broker answers, and each bootstrap
        # starts a thread. At the default of 100 ms, each client takes almost 1 % of a core then. A
        # connection that breaks after more than two seconds is opened again at once.
        "reconnect.backoff.ms": 2_000,
        "reconnect.backoff.max.ms": 2_000,
    }
