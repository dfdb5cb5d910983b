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
        # The first pause is also the one between bootstraps while no broker answers, and each
        # bootstrap starts a thread: at the default of 100 ms, each client takes almost 1 % of a
        # core then; at 2 s, a worker 2.1 %; at 3 s, 1.9 %. Pauses grow, up to four seconds and a
        # half of them; the default is ten. A connection that breaks after more than three
        # seconds is opened again at once.
        "reconnect.backoff.ms": 3_000,
        "reconnect.backoff.max.ms": 4_000,
    }
