"""The settings of a process: environment variables `STREAMS_*`, read once and checked.

Also what follows from them: topic names, the id of the Faust app, TLS contexts, and the
configuration of the Kafka clients.  Opens no connection; imports Faust only when its
credentials are requested.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streams.errors import SettingsError
from streams.events.limits import MAX_MESSAGE_BODY
from streams.kafka.defaults import ClientConfig, client_config
from streams.kafka.security import SASL_MECHANISMS, SECURITY_PROTOCOLS, KafkaSecurity
from streams.logs import FORMATS
from streams.native.library import MODES
from streams.settings import parse
from streams.settings.parse import GIB, KIB, MIB, is_loopback
from streams.tls import client_context, server_context

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

__all__ = ["GIB", "KIB", "MIB", "PREFIX", "Described", "Settings", "describe", "is_loopback"]

PREFIX: Final = "STREAMS_"

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_HTTP_TLS: Final = "STREAMS_HTTP_TLS"


class Described(NamedTuple):
    """One row of the reference of settings."""

    section: str
    variable: str
    default: str
    meaning: str


def _setting(
    default: Any,
    parse: Callable[[str], Any],
    meaning: str,
    *,
    shown: str | None = None,
    secret: bool = False,
    section: str | None = None,
) -> Any:
    """Declare a setting; `section` names the section of the reference that begins with it."""
    shown = str(default) if shown is None else shown
    metadata = {
        "parse": parse,
        "meaning": meaning,
        "shown": shown,
        "secret": secret,
        "section": section,
    }
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process; the variable of a field is `STREAMS_` and its name."""

    brokers: str = _setting(
        "127.0.0.1:9092", parse.brokers, "bootstrap brokers, `host:port,...`", section="Kafka"
    )
    namespace: str = _setting(
        "",
        parse.namespace,
        "prefix of all topic names and of the app id, so that tenants can share a cluster",
    )
    partitions: int = _setting(
        8,
        parse.whole(1, 65535),
        "partitions of each topic and table; `streams rescale` splits those that exist, and "
        "`streams import` copies a system into another number",
    )
    replication: int = _setting(1, parse.whole(1, 32767), "replicas of each topic partition")
    retention_hours: int = _setting(
        168,
        parse.hours,
        "how long the event topics keep records, in hours; -1 for no limit",
    )
    unnumbered_until: int | None = _setting(
        None,
        parse.moment,
        "after an upgrade from 0.1: the time at which its last worker stopped, such as "
        "2026-11-30T18:00:00Z; the folds' records before it need no log number",
        shown="",
    )
    schema_registry_url: str = _setting(
        "",
        parse.registry_url,
        "schema registry of producers that frame their records with a schema id, such as "
        "`https://user:password@registry:8081`",
        secret=True,
    )
    session_timeout_seconds: float = _setting(
        10.0,
        parse.seconds(1, 1800),
        "silence after which Kafka considers a worker dead",
    )
    kafka_security_protocol: str = _setting(
        "PLAINTEXT",
        parse.choice(SECURITY_PROTOCOLS),
        "how to connect: one of " + ", ".join(SECURITY_PROTOCOLS),
    )
    kafka_sasl_mechanism: str = _setting(
        "PLAIN",
        parse.choice(SASL_MECHANISMS),
        "with SASL: one of " + ", ".join(SASL_MECHANISMS),
    )
    kafka_sasl_username: str = _setting("", parse.any_text, "with SASL: user name")
    kafka_sasl_password: str = _setting("", parse.any_text, "with SASL: password", secret=True)
    kafka_ssl_cafile: Path | None = _setting(
        None,
        parse.file,
        "with SSL: PEM file of trusted certificate authorities",
        shown="the system's",
    )
    kafka_ssl_certfile: Path | None = _setting(
        None, parse.file, "with SSL: PEM file of the client certificate", shown=""
    )
    kafka_ssl_keyfile: Path | None = _setting(
        None,
        parse.file,
        "with SSL: PEM file of the client certificate's key",
        shown="",
    )

    data: Path = _setting(
        Path(".streams"),
        parse.folder,
        "folder of this worker's tables, and of the embedded broker",
        shown="./.streams",
        section="Worker",
    )
    standbys: int = _setting(
        1,
        parse.whole(0, 32767),
        "standby replicas of each table partition on other workers",
    )
    checkpoint_seconds: float = _setting(
        5.0,
        parse.seconds(0.05, 3600),
        "longest time between two checkpoints of a partition; one second is enough when much "
        "has changed, or nothing changes any more",
    )
    checkpoint_rows: int = _setting(
        50_000,
        parse.whole(1, 10_000_000),
        "number of changed rows that triggers a checkpoint earlier",
    )
    chunk_records: int = _setting(
        2_000,
        parse.whole(1, 1_000_000),
        "maximum number of records folded in one chunk",
    )
    chunk_bytes: int = _setting(
        MIB,
        parse.size(1, 256 * MIB),
        "maximum size of the records folded in one chunk",
        shown="1MiB",
    )
    cache_bytes: int = _setting(
        256 * MIB,
        parse.size(MIB, 1024 * GIB),
        "block cache of all tables of the process together",
        shown="256MiB",
    )
    write_buffer_bytes: int = _setting(
        128 * MIB,
        parse.size(MIB, 1024 * GIB),
        "write buffers of all tables of the process together",
        shown="128MiB",
    )
    native: str = _setting(
        "auto",
        parse.choice(MODES),
        "whether the native core does the frequent work: `auto` (if it is installed), `on` (the "
        "worker does not start without it) or `off`",
    )
    log_level: str = _setting(
        "INFO", parse.choice(LOG_LEVELS), "lowest level to log: one of " + ", ".join(LOG_LEVELS)
    )
    log_format: str = _setting(
        "text", parse.choice(FORMATS), "format of the log: text, or json (one object per line)"
    )

    http_host: str = _setting(
        "127.0.0.1", parse.host, "address that the gateway listens on", section="HTTP gateway"
    )
    http_port: int = _setting(6066, parse.whole(1, 65535), "port of the gateway")
    http_advertised_url: str = _setting(
        "",
        parse.url,
        "URL at which other workers reach this gateway",
        shown="http://host:port",
    )
    http_tls_certfile: Path | None = _setting(
        None,
        parse.file,
        "PEM file of the gateway's certificate chain; turns on TLS",
        shown="",
    )
    http_tls_keyfile: Path | None = _setting(
        None, parse.file, "PEM file of the certificate's key", shown=""
    )
    http_tls_cafile: Path | None = _setting(
        None,
        parse.file,
        "PEM file of the certificate authorities that signed other gateways' certificates",
        shown="the system's",
    )
    max_body_bytes: int = _setting(
        256 * KIB,
        parse.size(1, MAX_MESSAGE_BODY),
        "maximum size of a message body",
        shown="256KiB",
    )

    amqp_port: int | None = _setting(
        None,
        parse.whole(1, 65535),
        "port for clients of AMQP 0-9-1, usually 5672, on the address and with the TLS of the HTTP "
        "gateway; off without it",
        shown="",
    )

    auth_keys: Path | None = _setting(
        None,
        parse.file,
        "file of the public keys that tokens are verified with: PEM, or a JWK set",
        shown="",
        section="Authentication and rate limits",
    )
    auth_jwks_url: str = _setting(
        "", parse.jwks_url, "URL to fetch the keys from, instead of a file"
    )
    auth_revoked: Path | None = _setting(
        None,
        parse.file,
        "JSON file of revoked tokens; reloaded automatically",
        shown="",
    )
    auth_audience: str = _setting("streams", parse.any_text, "required `aud` of a token")
    auth_issuer: str = _setting("", parse.any_text, "required `iss` of a token", shown="any")
    rate_limit_per_second: float = _setting(
        1000.0,
        parse.rate,
        "events per second of one token's subject at one worker; 0 for no limit",
        shown="1000",
    )
    rate_limit_burst: int = _setting(
        2000,
        parse.whole(1, 10_000_000),
        "burst size of the rate limit, in events",
    )
    token: str = _setting(
        "",
        parse.token,
        "bearer token that the command line sends to workers",
        secret=True,
    )
    brokers_given: bool = False
    """Whether the user named brokers. If not, `streams up` and others start one."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check the settings; an empty variable counts as not set.

        Raises:
            SettingsError: a value is invalid, values contradict each other, or a variable
                that begins with `STREAMS_` is not a setting.
        """
        env = os.environ if env is None else env
        given = {name: env[name] for name in sorted(env) if name.startswith(PREFIX)}
        known = {_variable(f.name): f for f in fields(cls) if f.metadata}
        values: dict[str, Any] = {}
        for variable, text in given.items():
            if variable not in known:
                raise SettingsError(_unknown(variable, list(known)))
            setting = known[variable]
            if not setting.metadata["secret"]:
                text = text.strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["parse"](text)
            except ValueError as error:
                got = "" if setting.metadata["secret"] else f", not {text!r}"
                raise SettingsError(f"{variable} must be {error}{got}") from None
        if "data" not in values:
            values["data"] = Path(".streams").absolute()
        settings = cls(brokers_given="brokers" in values, **values)
        settings.kafka_security.check()
        settings._check_gateway()
        return settings

    def _check_gateway(self) -> None:
        if bool(self.http_tls_certfile) != bool(self.http_tls_keyfile):
            raise SettingsError(
                "STREAMS_HTTP_TLS_CERTFILE and STREAMS_HTTP_TLS_KEYFILE must be set together"
            )
        if self.amqp_port == self.http_port:
            raise SettingsError("STREAMS_AMQP_PORT and STREAMS_HTTP_PORT must differ")
        if self.auth_keys and self.auth_jwks_url:
            raise SettingsError(
                "STREAMS_AUTH_KEYS and STREAMS_AUTH_JWKS_URL cannot both be set: choose one"
            )
        if self.auth_revoked and not self.authenticates:
            raise SettingsError(
                "STREAMS_AUTH_REVOKED requires STREAMS_AUTH_KEYS or STREAMS_AUTH_JWKS_URL"
            )
        if self.http_tls_certfile and self.http_advertised_url.startswith("http://"):
            raise SettingsError(
                "STREAMS_HTTP_ADVERTISED_URL must be https://... with STREAMS_HTTP_TLS_CERTFILE"
            )

    def check_public(self, host: str) -> None:
        """Check that a gateway that other machines can reach asks for tokens.

        `host` is the address that the gateway is about to listen on.

        Raises:
            SettingsError: it is not a loopback address, and there are no keys.
        """
        if not self.authenticates and not is_loopback(host):
            raise SettingsError(
                f"refusing to listen on {host} without authentication: set STREAMS_AUTH_KEYS "
                "or STREAMS_AUTH_JWKS_URL, or listen on 127.0.0.1"
            )

    @property
    def authenticates(self) -> bool:
        """Whether the gateway asks for tokens."""
        return bool(self.auth_keys or self.auth_jwks_url)

    @property
    def app_id(self) -> str:
        """Id of the Faust app and of its consumer group."""
        return self._named("streams")

    @property
    def instance_id(self) -> str:
        """Name of this worker in the consumer group, the same after a restart.

        A restarted worker takes its old place in the group without waiting for Kafka to
        expire the dead one.  Host name and URL identify a worker: two on one machine cannot
        listen on the same port.
        """
        name = f"{socket.gethostname()} {self.advertised_url}"
        return f"{self.app_id}-{hashlib.sha256(name.encode()).hexdigest()[:20]}"

    @property
    def group_events(self) -> str:
        """Topic of binds, unbinds and messages; keyed by group."""
        return self._named("group-events")

    @property
    def queue_events(self) -> str:
        """Topic of all events of queues; keyed by queue."""
        return self._named("queue-events")

    @property
    def dead_letters(self) -> str:
        """Topic of records that could not be folded."""
        return self._named("dead-letters")

    @property
    def bridge_places(self) -> str:
        """Topic of the places of bridges; only sites that have one have it."""
        return self._named("bridge-places")

    def changelog(self, table: str) -> str:
        """Name of a table's changelog topic, by Faust's rule."""
        return f"{self.app_id}-{table}-changelog"

    def _named(self, name: str) -> str:
        return f"{self.namespace}.{name}" if self.namespace else name

    @property
    def retention_ms(self) -> int:
        """How long the event topics keep a record, in milliseconds; -1 for no limit."""
        return -1 if self.retention_hours == -1 else self.retention_hours * 3_600_000

    @property
    def advertised_url(self) -> str:
        """Base URL of this worker's gateway for other workers, without a trailing slash.

        A gateway that listens on all addresses advertises the host name.
        """
        if self.http_advertised_url:
            return self.http_advertised_url
        host = self.http_host
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        if ":" in host:
            host = f"[{host}]"
        scheme = "https" if self.http_tls_certfile else "http"
        return f"{scheme}://{host}:{self.http_port}"

    def http_server_tls(self) -> ssl.SSLContext | None:
        """Return the gateway's TLS context; None without TLS.

        Raises:
            SettingsError: the files do not hold a certificate and its key.
        """
        if not self.http_tls_certfile:
            return None
        return server_context(_HTTP_TLS, self.http_tls_certfile, self.http_tls_keyfile)

    def http_client_tls(self) -> ssl.SSLContext:
        """Return the TLS context for requests to gateways.

        Raises:
            SettingsError: STREAMS_HTTP_TLS_CAFILE is not a PEM file of certificates.
        """
        return client_context(_HTTP_TLS, self.http_tls_cafile)

    @property
    def kafka_security(self) -> KafkaSecurity:
        """How clients authenticate to Kafka and encrypt the connection."""
        return KafkaSecurity(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=self.kafka_sasl_password,
            cafile=self.kafka_ssl_cafile,
            certfile=self.kafka_ssl_certfile,
            keyfile=self.kafka_ssl_keyfile,
        )

    def librdkafka(self) -> ClientConfig:
        """Return the base configuration of every librdkafka client: brokers and security."""
        return {**client_config(self.brokers), **self.kafka_security.librdkafka()}

    def faust_credentials(self) -> CredentialsT | None:
        """Return the value of Faust's setting `broker_credentials`; None without security.

        Raises:
            SettingsError: a file is not a PEM file of the right kind.
        """
        return self.kafka_security.faust_credentials()


def describe() -> list[Described]:
    """List all settings in order: section, variable, default and meaning."""
    described = []
    section = ""
    for one in fields(Settings):
        if one.metadata:
            section = one.metadata["section"] or section
            shown, meaning = one.metadata["shown"], one.metadata["meaning"]
            described.append(Described(section, _variable(one.name), shown, meaning))
    return described


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _unknown(variable: str, known: list[str]) -> str:
    near = difflib.get_close_matches(variable, known, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]}?" if near else "see docs/reference/settings.md"
    return f"unknown setting {variable}; {hint}"
