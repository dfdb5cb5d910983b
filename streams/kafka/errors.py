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


def answered(error: KafkaException) -> bool:
    """Return whether Kafka answered, with an error, rather than not at all."""
    return error.args[0].code() not in _NO_ANSWER


def unavailable(request: str, error: KafkaException, reason: str = "") -> Unavailable:
    """Return an error that repeats what Kafka answered, or says that it did not answer.

    Args:
        request: what Kafka was asked for, as in "the configuration of topic x".
        error: what the client raised.
        reason: why Kafka cannot be reached, if that is known better than from `error`.
    """
    cause: KafkaError = error.args[0]
    text = reason or cause.str()
    if answered(error):
        return Unavailable(f"Kafka refused {request}: {text}")
    return Unavailable(f"Kafka does not answer: {text}")
