"""Errors of Kafka as errors of this package."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from streams.errors import Unavailable

_NO_ANSWER: Final = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError.REQUEST_TIMED_OUT,
}
"""Errors of a Kafka that cannot be reached; with any other error it has answered."""


def unavailable(request: str, error: KafkaException, reason: str = "") -> Unavailable:
    """Return an error that repeats what Kafka answered, or says that it did not answer.

    Args:
        request: what Kafka was asked for, as in "the configuration of topic x".
        error: what the client raised.
        reason: why Kafka cannot be reached, where it is known better than from `error`.
    """
    cause: KafkaError = error.args[0]
    text = reason or cause.str()
    if cause.code() in _NO_ANSWER:
        return Unavailable(f"Kafka does not answer: {text}")
    return Unavailable(f"Kafka refused {request}: {text}")
