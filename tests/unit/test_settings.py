"""Settings: valid and invalid values, error texts, and what is derived from them."""

from __future__ import annotations

import ssl
from dataclasses import fields
from pathlib import Path

import faust
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from streams.errors import SettingsError
from streams.settings import Settings, describe


def test_the_defaults() -> None:
    settings = Settings.from_env({})

    assert settings.brokers == "127.0.0.1:9092"
    assert not settings.brokers_given
    assert settings.data == Path(".streams").absolute()
    assert (settings.partitions, settings.replication, settings.standbys) == (8, 1, 1)
    assert settings.retention_ms == 168 * 3_600_000
    assert settings.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "log_level": 2,
        "reconnect.backoff.ms": 3_000,
        "reconnect.backoff.max.ms": 4_000,
        "enable.sparse.connections": False,
        "socket.nagle.disable": True,
    }
    assert settings.faust_credentials() is None
    assert settings.kafka_security.ssl_context() is None


def test_each_documented_default_is_the_default() -> None:
    # Given the settings as the reference shows them
    table = {line.variable: line.default for line in describe()}
    derived = {  # the reference shows a rule, not a value
        "STREAMS_HTTP_ADVERTISED_URL",
        "STREAMS_KAFKA_SSL_CAFILE",
        "STREAMS_HTTP_TLS_CAFILE",
        "STREAMS_AUTH_ISSUER",
    }

    # When each default is set explicitly
    given = {name: text for name, text in table.items() if text and name not in derived}

    # Then nothing changes
    assert Settings.from_env(given | {"STREAMS_BROKERS": ""}) == Settings.from_env({})


def test_every_setting_is_described_in_a_section() -> None:
    described = [line.variable for line in describe()]

    assert described == [
        "STREAMS_" + field.name.upper()
        for field in fields(Settings)
        if field.name != "brokers_given"
    ]
    assert all(line.meaning and line.section for line in describe())


def test_an_empty_variable_counts_as_not_given() -> None:
    settings = Settings.from_env({"STREAMS_BROKERS": "", "STREAMS_PARTITIONS": " "})

    assert settings == Settings.from_env({})
    assert not settings.brokers_given


def test_values_are_read() -> None:
    settings = Settings.from_env(
        {
            "STREAMS_BROKERS": "a:1, [::1]:2",
            "STREAMS_NAMESPACE": "world-1",
            "STREAMS_CHUNK_BYTES": "64 KiB",
            "STREAMS_CACHE_BYTES": "1048576",
            "STREAMS_CHECKPOINT_SECONDS": "0.5",
            "STREAMS_RETENTION_HOURS": "-1",
            "STREAMS_LOG_LEVEL": "debug",
            "UNRELATED": "x",
        }
    )

    assert settings.brokers == "a:1,[::1]:2"
    assert settings.brokers_given
    assert settings.chunk_bytes == 65536
    assert settings.cache_bytes == 1048576
    assert settings.checkpoint_seconds == 0.5
    assert settings.retention_ms == -1
    assert settings.log_level == "DEBUG"


def test_a_namespace_prefixes_every_name() -> None:
    settings = Settings.from_env({"STREAMS_NAMESPACE": "w"})

    assert settings.app_id == "w.streams"
    assert settings.group_events == "w.group-events"
    assert settings.queue_events == "w.queue-events"
    assert settings.dead_letters == "w.dead-letters"
    assert settings.changelog("members") == "w.streams-members-changelog"
    assert Settings().changelog("queues") == "streams-queues-changelog"


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, "http://127.0.0.1:6066"),
        ({"STREAMS_HTTP_HOST": "::1", "STREAMS_HTTP_PORT": "80"}, "http://[::1]:80"),
        ({"STREAMS_HTTP_ADVERTISED_URL": "http://w1:6066/"}, "http://w1:6066"),
    ],
)
def test_the_advertised_url(env: dict[str, str], url: str) -> None:
    assert Settings.from_env(env).advertised_url == url


def test_a_gateway_on_all_addresses_advertises_the_host_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "worker-7")

    settings = Settings.from_env({"STREAMS_HTTP_HOST": "0.0.0.0"})

    assert settings.advertised_url == "http://worker-7:6066"


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("STREAMS_PARTITIONS", "0", "a whole number from 1 to 65535"),
        ("STREAMS_PARTITIONS", "eight", "not 'eight'"),
        ("STREAMS_PARTITIONS", "8.0", "a whole number"),
        ("STREAMS_HTTP_PORT", "70000", "from 1 to 65535"),
        ("STREAMS_BROKERS", "localhost", "host:port"),
        ("STREAMS_BROKERS", "a:1,,b:2", "host:port"),
        ("STREAMS_BROKERS", "a:99999", "host:port"),
        ("STREAMS_NAMESPACE", "a/b", "letters, digits"),
        ("STREAMS_NAMESPACE", ".a", "not starting with '.'"),
        ("STREAMS_HTTP_HOST", "127.0.0.1:6066", "without a port"),
        ("STREAMS_HTTP_ADVERTISED_URL", "w1:6066", "http://host:port"),
        ("STREAMS_CHECKPOINT_SECONDS", "nan", "from 0.05 to 3600"),
        ("STREAMS_CHECKPOINT_SECONDS", "-1", "from 0.05 to 3600"),
        ("STREAMS_MAX_BODY_BYTES", "524289", "from 1 to 512KiB"),
        ("STREAMS_CACHE_BYTES", "1MB", "such as 65536, 64KiB or 1MiB"),
        ("STREAMS_RETENTION_HOURS", "0", "-1 for no limit"),
        ("STREAMS_LOG_LEVEL", "loud", "one of DEBUG, INFO"),
        ("STREAMS_KAFKA_SECURITY_PROTOCOL", "TLS", "one of PLAINTEXT, SSL"),
        ("STREAMS_KAFKA_SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-512"),
        ("STREAMS_DATA", __file__, "a folder"),
        ("STREAMS_KAFKA_SSL_CAFILE", "/nowhere/ca.pem", "an existing file"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(variable: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: text})

    message = str(caught.value)
    assert message.startswith(f"{variable} must be ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("STREAMS_BROKER", "did you mean STREAMS_BROKERS?"),
        ("STREAMS_NAME_SPACE", "did you mean STREAMS_NAMESPACE?"),
        ("STREAMS_XYZZY", "see docs/reference/settings.md"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"^unknown setting {variable}; ") as caught:
        Settings.from_env({variable: ""})

    assert says in str(caught.value)


SASL = {
    "STREAMS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "STREAMS_KAFKA_SASL_MECHANISM": "scram-sha-512",
    "STREAMS_KAFKA_SASL_USERNAME": "resident",
    "STREAMS_KAFKA_SASL_PASSWORD": " hunter2 ",
}


def test_both_kafka_clients_get_the_same_security() -> None:
    settings = Settings.from_env(SASL)

    assert settings.librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "socket.nagle.disable": True,
        "log_level": 2,
        "reconnect.backoff.ms": 3_000,
        "reconnect.backoff.max.ms": 4_000,
        "enable.sparse.connections": False,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "resident",
        "sasl.password": " hunter2 ",
    }
    credentials = settings.faust_credentials()
    assert isinstance(credentials, faust.SASLCredentials)
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert (credentials.username, credentials.password) == ("resident", " hunter2 ")
    assert isinstance(credentials.ssl_context, ssl.SSLContext)


def test_tls_alone_checks_the_brokers_name() -> None:
    settings = Settings.from_env({"STREAMS_KAFKA_SECURITY_PROTOCOL": "SSL"})

    credentials = settings.faust_credentials()
    assert isinstance(credentials, faust.SSLCredentials)
    assert credentials.context.check_hostname
    assert credentials.context.verify_mode is ssl.CERT_REQUIRED
    assert settings.librdkafka()["security.protocol"] == "SSL"


def test_the_repr_of_settings_hides_secrets() -> None:
    settings = Settings.from_env(SASL)

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert "resident" in repr(settings)


@pytest.mark.parametrize("missing", ["STREAMS_KAFKA_SASL_USERNAME", "STREAMS_KAFKA_SASL_PASSWORD"])
def test_sasl_needs_a_user_and_a_password(missing: str) -> None:
    with pytest.raises(SettingsError, match=f"^{missing} must be set with"):
        Settings.from_env({name: text for name, text in SASL.items() if name != missing})


def test_an_unused_password_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="has no effect with") as caught:
        Settings.from_env({"STREAMS_KAFKA_SASL_PASSWORD": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_a_key_needs_a_certificate(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()

    with pytest.raises(SettingsError, match=r"^STREAMS_KAFKA_SSL_CERTFILE must be set"):
        Settings.from_env(
            {"STREAMS_KAFKA_SECURITY_PROTOCOL": "SSL", "STREAMS_KAFKA_SSL_KEYFILE": str(key)}
        )


def test_a_file_that_is_not_a_certificate_is_refused(tmp_path: Path) -> None:
    cafile = tmp_path / "ca.pem"
    cafile.write_text("not a certificate")
    settings = Settings.from_env(
        {"STREAMS_KAFKA_SECURITY_PROTOCOL": "SSL", "STREAMS_KAFKA_SSL_CAFILE": str(cafile)}
    )

    with pytest.raises(SettingsError, match=r"^STREAMS_KAFKA_SSL_CAFILE must be a PEM file"):
        settings.kafka_security.ssl_context()


def test_no_public_listener_without_authentication(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    by_file = Settings.from_env({"STREAMS_AUTH_KEYS": str(tmp_path / "keys")})
    by_url = Settings.from_env({"STREAMS_AUTH_JWKS_URL": "https://id.example.org/keys"})

    for host in ("0.0.0.0", "::", "10.0.0.1", "worker-1", "127.0.0.1.example.org", "localhost.x"):
        with pytest.raises(SettingsError, match="STREAMS_AUTH_KEYS") as refused:
            Settings().check_public(host)
        assert "\n" not in str(refused.value)
        by_file.check_public(host)
        by_url.check_public(host)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        Settings().check_public(host)


def test_white_space_around_a_token_is_ignored() -> None:
    assert Settings.from_env({"STREAMS_TOKEN": " a.b.c\n"}).token == "a.b.c"
    with pytest.raises(SettingsError, match="STREAMS_TOKEN must be a token"):
        Settings.from_env({"STREAMS_TOKEN": "a\nb"})


def test_a_token_is_a_secret() -> None:
    settings = Settings.from_env({"STREAMS_TOKEN": "hush-hush"})
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"STREAMS_AUTH_JWKS_URL": "http://id.example.org/keys"}, "https://"),
        ({"STREAMS_AUTH_JWKS_URL": "https://user:hush@id.example.org/keys"}, "https://"),
        ({"STREAMS_AUTH_JWKS_URL": "file:///etc/keys"}, "https://"),
        ({"STREAMS_AUTH_KEYS": "/nowhere/keys.pem"}, "an existing file"),
        ({"STREAMS_RATE_LIMIT_PER_SECOND": "-1"}, "0 for no limit"),
        ({"STREAMS_RATE_LIMIT_PER_SECOND": "inf"}, "0 for no limit"),
        ({"STREAMS_RATE_LIMIT_BURST": "0"}, "from 1"),
        ({"STREAMS_HTTP_TLS_CERTFILE": __file__}, "STREAMS_HTTP_TLS_KEYFILE"),
        ({"STREAMS_HTTP_TLS_KEYFILE": __file__}, "STREAMS_HTTP_TLS_CERTFILE"),
        (
            {"STREAMS_AUTH_KEYS": __file__, "STREAMS_AUTH_JWKS_URL": "https://a/keys"},
            "choose one",
        ),
        (
            {
                "STREAMS_HTTP_TLS_CERTFILE": __file__,
                "STREAMS_HTTP_TLS_KEYFILE": __file__,
                "STREAMS_HTTP_ADVERTISED_URL": "http://worker-1:6066",
            },
            "https://",
        ),
    ],
)
def test_contradictory_gateway_settings_are_refused(variables: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Settings.from_env(variables)


def test_invalid_tls_files_are_refused() -> None:
    files = {"STREAMS_HTTP_TLS_CERTFILE": __file__, "STREAMS_HTTP_TLS_KEYFILE": __file__}
    settings = Settings.from_env({**files, "STREAMS_HTTP_TLS_CAFILE": __file__})

    assert settings.advertised_url == "https://127.0.0.1:6066"
    with pytest.raises(SettingsError, match="STREAMS_HTTP_TLS_CERTFILE"):
        settings.http_server_tls()
    with pytest.raises(SettingsError, match="STREAMS_HTTP_TLS_CAFILE"):
        settings.http_client_tls()
    assert Settings().http_server_tls() is None


def test_a_key_with_a_password_is_refused_without_asking_for_it(tmp_path: Path) -> None:
    # Given a certificate whose key is encrypted
    certificate = trustme.CA().issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    files = str(tmp_path / "certificate.pem"), str(tmp_path / "key.pem")

    # When a TLS context is made of it, for Kafka and for the gateway, then it is an error
    kafka = Settings.from_env(
        {
            "STREAMS_KAFKA_SECURITY_PROTOCOL": "SSL",
            "STREAMS_KAFKA_SSL_CERTFILE": files[0],
            "STREAMS_KAFKA_SSL_KEYFILE": files[1],
        }
    )
    with pytest.raises(SettingsError, match=r"^STREAMS_KAFKA_SSL_CERTFILE .* without a password"):
        kafka.kafka_security.ssl_context()
    gateway = Settings.from_env(
        {"STREAMS_HTTP_TLS_CERTFILE": files[0], "STREAMS_HTTP_TLS_KEYFILE": files[1]}
    )
    with pytest.raises(SettingsError, match=r"^STREAMS_HTTP_TLS_CERTFILE .* without a password"):
        gateway.http_server_tls()
