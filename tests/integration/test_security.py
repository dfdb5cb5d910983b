"""TLS and SASL: both Kafka clients connect, and fail when one of the two is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.errors import Unavailable
from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.topics import check_topics, ensure_topics
from streams.settings import Settings
from streams.topics import product_topics

MECHANISM = "SCRAM-SHA-512"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[str]:
    """Address of a Kafka listener that requires TLS and SASL; the Kafka has one user."""
    folder = tmp_path_factory.mktemp("secure")
    kafka = EmbeddedKafka(folder / "kafka")
    (node,) = kafka.nodes
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listeners = f"PLAINTEXT://{node.address},SECURE://127.0.0.1:{port}"
    kafka.properties |= {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT"
        ),
        "listener.name.secure.sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.secure.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": str(_keystore(folder, authority)),
    }
    with kafka:
        user = UserScramCredentialUpsertion(
            "resident", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"hunter2"
        )
        admin = AdminClient({"bootstrap.servers": kafka.brokers})
        admin.alter_user_scram_credentials([user])["resident"].result(120)
        yield f"127.0.0.1:{port}"


@pytest.fixture
def settings(secure: str, authority: trustme.CA, tmp_path: Path) -> Settings:
    cafile = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(cafile)
    return Settings.from_env(
        {
            "STREAMS_BROKERS": secure,
            "STREAMS_PARTITIONS": "1",
            "STREAMS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "STREAMS_KAFKA_SASL_MECHANISM": MECHANISM,
            "STREAMS_KAFKA_SASL_USERNAME": "resident",
            "STREAMS_KAFKA_SASL_PASSWORD": "hunter2",
            "STREAMS_KAFKA_SSL_CAFILE": str(cafile),
        }
    )


def _keystore(folder: Path, authority: trustme.CA) -> Path:
    """Write a keystore for Kafka: a PKCS #8 key, then its certificate."""
    certificate = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path = folder / "keystore.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    )
    return path


async def test_both_clients_connect(settings: Settings) -> None:
    # When librdkafka's client creates the topics
    ensure_topics(settings.librdkafka(), product_topics(settings))

    # Then Faust's client sees them, with credentials from the same settings
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.brokers,
        **credentials_to_aiokafka_auth(settings.faust_credentials()),
    )
    await consumer.start()
    try:
        assert settings.group_events in await consumer.topics()
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kafka_sasl_password": "wrong"}, "SASL authentication error"),
        ({"kafka_ssl_cafile": None}, "certificate"),
    ],
)
def test_a_wrong_password_or_an_untrusted_broker_is_an_error(
    settings: Settings, wrong: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.topics._ANSWER_SECONDS", 8)

    with pytest.raises(Unavailable, match=f"^Kafka does not answer: .*{says}"):
        check_topics(replace(settings, **wrong).librdkafka(), product_topics(settings))
