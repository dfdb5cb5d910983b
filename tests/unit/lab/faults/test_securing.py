"""Certificates, keys and the token of a run with everything on."""

from __future__ import annotations

from pathlib import Path

from streams.lab.faults.brokers import Brokers
from streams.lab.faults.securing import SUBJECT, Security
from streams.security.keys import read_keys
from streams.security.tokens import Rules, verify
from streams.settings import Settings


def test_its_settings_are_valid_and_its_token_is_accepted(tmp_path: Path) -> None:
    security = Security(tmp_path / "security")
    security.make()
    settings = Settings.from_env(
        {**security.gateway("ns"), **security.kafka_client(), "STREAMS_NAMESPACE": "ns"}
    )
    settings.http_client_tls()
    assert settings.librdkafka()["security.protocol"] == "SSL"
    assert settings.auth_keys is not None
    permissions = verify(
        settings.token,
        read_keys(settings.auth_keys.read_bytes()),
        Rules(settings.auth_audience, namespace="ns"),
    )
    assert (permissions.subject, permissions.admin, permissions.rate) == (SUBJECT, True, 0)


def test_one_broker_speaks_tls_wherever_workers_reach_it(tmp_path: Path) -> None:
    security = Security(tmp_path / "security")
    security.make()
    brokers = Brokers(tmp_path / "kafka", 1, 7, security)
    listeners = brokers.kafka.properties["listener.security.protocol.map"]
    assert "LINK0:SSL" in listeners
    assert "LINK1:SSL" in listeners
    assert "DIRECT:SSL" in listeners
    assert brokers.bootstrap() != brokers.kafka.brokers
    assert Brokers(tmp_path / "three", 3, 7, security).security is None
