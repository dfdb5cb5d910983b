"""What Kafka said is repeated; that it said nothing is said only then."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.kafka.errors import unavailable


def _raised(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


@pytest.mark.parametrize(
    "code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT]
)
def test_a_kafka_that_cannot_be_reached_does_not_answer(code: int) -> None:
    assert str(unavailable("the read", _raised(code))).startswith("Kafka does not answer: ")


def test_a_better_reason_is_preferred() -> None:
    error = unavailable("the read", _raised(KafkaError._TRANSPORT), "Connection refused")

    assert str(error) == "Kafka does not answer: Connection refused"


def test_an_answer_is_repeated() -> None:
    error = unavailable("the read", _raised(KafkaError.UNKNOWN_TOPIC_OR_PART))

    assert str(error) == "Kafka refused the read: Broker: Unknown topic or partition"
