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
        # librdkafka waits for up to a second with such a pause between its connection to a
        # bootstrap address and the next to a broker, so that every client would start a second
        # late, and a partition would be taken over a second late.  Without sparse connections it
        # connects to all brokers at once: a client starts in 25 ms, and keeps a connection to
        # each broker.
        "enable.sparse.connections": False,
    }
