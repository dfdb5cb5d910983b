"""The settings: environment variables `STREAMS_*`, read once, checked, and then fixed.

Also what follows from them alone: topic names, the id of the Faust app, and how each of the
two Kafka clients is told of brokers and security.  This module opens no connection, and
imports Faust only when its credentials are asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import math
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from streams.errors import SettingsError
from streams.events.records import MAX_BODY

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

PREFIX: Final = "STREAMS_"

MEMBERS: Final = "members"
"""Name of the table that route folds `group-events` into."""
QUEUES: Final = "queues"
"""Name of the table that deliver folds `queue-events` into."""
TABLES: Final = (MEMBERS, QUEUES)

SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

LOG_FORMATS: Final = ("text", "json")

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


# Each of these turns the text of a variable into its value.  What they raise says what the
# value may be; the variable's name is put before it where the error is made.


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number of seconds from {low:g} to {high:g}")
        return value

    return parse


_UNITS: Final = {"": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB}


def _bytes(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"(\d{1,15}) ?(|KiB|MiB|GiB)", text, re.IGNORECASE | re.ASCII)
        value = int(match[1]) * _UNITS[match[2].upper()] if match else -1
        if not low <= value <= high:
            raise ValueError(
                f"a number of bytes from {_shown_bytes(low)} to {_shown_bytes(high)}, "
                "as in 65536, 64KiB or 1MiB"
            )
        return value

    return parse


def _choice(options: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for option in options:
            if option.upper() == text.upper():
                return option
        raise ValueError("one of " + ", ".join(options))

    return parse


def _hours(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value != -1 and not 1 <= value <= 1_000_000:
        raise ValueError("a whole number of hours from 1 to 1000000, or -1 for ever")
    return value


_BROKER: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", re.ASCII)


def _brokers(text: str) -> str:
    brokers = [broker.strip() for broker in text.split(",")]
    for broker in brokers:
        match = _BROKER.fullmatch(broker)
        if not match or not 1 <= int(match[1]) <= 65535:
            raise ValueError("host:port, or several of them with commas between")
    return ",".join(brokers)


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError("a folder, there already or to be made")
    return path


def _file(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError("a file that is there")
    return path


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text, re.ASCII):
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            raise ValueError("a host name or an IP address, without a port") from None
    return text


def _url(text: str) -> str:
    pattern = r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/?"
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError("http://host:port, as the other workers reach this one")
    return text.rstrip("/")


def _jwks_url(text: str) -> str:
    match = re.fullmatch(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?/\S*", text)
    if not match or (match[1] == "http" and not is_loopback(match[2])):
        raise ValueError("https://host/path (http:// on this machine alone)")
    return text


def is_loopback(host: str) -> bool:
    """Tell whether a host, as in a setting or a URL, is surely this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e9:
        raise ValueError("a number of events a second, 0 for no limit")
    return value


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", text, re.ASCII):
        raise ValueError("up to 100 letters, digits, '_', '-' and '.', not '.' first")
    return text


def _text(text: str) -> str:
    return text


def _token(text: str) -> str:
    token = text.strip()  # a secret that is mounted as a file often ends with a newline
    if not all("!" <= character <= "~" for character in token):
        raise ValueError("a token: one word of ASCII characters")
    return token


def _shown_bytes(value: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)


class Described(NamedTuple):
    """One line of the table of settings, for readers."""

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
) -> Any:
    shown = str(default) if shown is None else shown
    metadata = {"parse": parse, "meaning": meaning, "shown": shown, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process; the variable of a field is `STREAMS_` and its name."""

    brokers: str = _setting(
        "127.0.0.1:9092", _brokers, "Kafka brokers to begin with, `host:port,...`"
    )
    data: Path = _setting(
        Path(".streams"),
        _folder,
        "folder of this worker's tables; of the embedded broker too",
        shown="./.streams",
    )
    http_host: str = _setting("127.0.0.1", _host, "address that the HTTP gateway listens on")
    http_port: int = _setting(6066, _whole(1, 65535), "port of the HTTP gateway")
    http_advertised_url: str = _setting(
        "", _url, "where other workers reach this gateway", shown="http://host:port"
    )
    partitions: int = _setting(
        8, _whole(1, 65535), "partitions of each topic and table, fixed once they exist"
    )
    replication: int = _setting(1, _whole(1, 32767), "replicas of each topic partition")
    namespace: str = _setting(
        "", _namespace, "prefix of all topics and of the app id: tenants share a cluster"
    )
    standbys: int = _setting(
        1, _whole(0, 32767), "standby replicas of each table partition on other workers"
    )
    checkpoint_seconds: float = _setting(
        1.0, _seconds(0.05, 3600), "longest time between two checkpoints of a partition"
    )
    checkpoint_rows: int = _setting(
        50_000, _whole(1, 10_000_000), "changed rows that bring a checkpoint on earlier"
    )
    chunk_records: int = _setting(
        2_000, _whole(1, 1_000_000), "most records that are folded in one go"
    )
    chunk_bytes: int = _setting(
        MIB, _bytes(1, 256 * MIB), "most bytes of records that are folded in one go", shown="1MiB"
    )
    cache_bytes: int = _setting(
        256 * MIB,
        _bytes(MIB, 1024 * GIB),
        "block cache of all tables of the process",
        shown="256MiB",
    )
    write_buffer_bytes: int = _setting(
        128 * MIB,
        _bytes(MIB, 1024 * GIB),
        "write buffers of all tables of the process",
        shown="128MiB",
    )
    max_body_bytes: int = _setting(
        256 * KIB, _bytes(1, MAX_BODY), "largest body of a message", shown="256KiB"
    )
    retention_hours: int = _setting(
        168, _hours, "how long the event topics keep what happened; -1 is for ever"
    )
    session_timeout_seconds: float = _setting(
        10.0, _seconds(1, 1800), "silence after which Kafka takes a worker for dead"
    )
    log_level: str = _setting("INFO", _choice(LOG_LEVELS), "one of " + ", ".join(LOG_LEVELS))
    log_format: str = _setting(
        "text", _choice(LOG_FORMATS), "one of text, json (an object a line, for machines)"
    )
    kafka_security_protocol: str = _setting(
        "PLAINTEXT", _choice(SECURITY_PROTOCOLS), "one of " + ", ".join(SECURITY_PROTOCOLS)
    )
    kafka_sasl_mechanism: str = _setting(
        "PLAIN", _choice(SASL_MECHANISMS), "one of " + ", ".join(SASL_MECHANISMS)
    )
    kafka_sasl_username: str = _setting("", _text, "user name, with SASL")
    kafka_sasl_password: str = _setting("", _text, "password, with SASL", secret=True)
    kafka_ssl_cafile: Path | None = _setting(
        None, _file, "PEM file of the authorities to trust, with SSL", shown="the system's"
    )
    kafka_ssl_certfile: Path | None = _setting(
        None, _file, "PEM file of this client's certificate, with SSL", shown=""
    )
    kafka_ssl_keyfile: Path | None = _setting(
        None, _file, "PEM file of its key, with SSL", shown=""
    )
    http_tls_certfile: Path | None = _setting(
        None, _file, "PEM file of the gateway's certificate and its chain: it speaks TLS", shown=""
    )
    http_tls_keyfile: Path | None = _setting(None, _file, "PEM file of its key", shown="")
    http_tls_cafile: Path | None = _setting(
        None, _file, "PEM file of the authorities of other workers' gateways", shown="the system's"
    )
    auth_keys: Path | None = _setting(
        None, _file, "public keys that tokens are checked with: PEM, or a JWK set", shown=""
    )
    auth_jwks_url: str = _setting("", _jwks_url, "where to fetch these keys, instead of a file")
    auth_revoked: Path | None = _setting(
        None, _file, "JSON file of tokens that are good no more, read again by and by", shown=""
    )
    auth_audience: str = _setting("streams", _text, "what `aud` of a token must be")
    auth_issuer: str = _setting("", _text, "what `iss` of a token must be", shown="any")
    rate_limit_per_second: float = _setting(
        1000.0, _rate, "events a second of one bearer at one worker; 0 is no limit", shown="1000"
    )
    rate_limit_burst: int = _setting(
        2000, _whole(1, 10_000_000), "events that a bearer may have in store"
    )
    token: str = _setting("", _token, "token of the commands that ask workers", secret=True)
    brokers_given: bool = False
    """Whether the user named brokers, so that none needs to be started here."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read and check the settings; an empty variable counts as not given.

        Raises:
            SettingsError: a value cannot be used, values do not go together, or a variable
                that begins with `STREAMS_` names no setting.
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
        settings._check_security()
        settings._check_http_security()
        return settings

    def _check_security(self) -> None:
        """Refuse what would silently have no effect, or fail only at the first connection."""
        protocol = f"STREAMS_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol}"
        sasl = ("kafka_sasl_username", "kafka_sasl_password")
        tls = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
        for name in sasl:
            if self._uses_sasl and not getattr(self, name):
                raise SettingsError(f"{_variable(name)} must be given with {protocol}")
            if not self._uses_sasl and getattr(self, name):
                raise SettingsError(f"{_variable(name)} means nothing with {protocol}")
        for name in tls:
            if not self._uses_tls and getattr(self, name):
                raise SettingsError(f"{_variable(name)} means nothing with {protocol}")
        if self.kafka_ssl_keyfile and not self.kafka_ssl_certfile:
            raise SettingsError(
                "STREAMS_KAFKA_SSL_CERTFILE must be given with STREAMS_KAFKA_SSL_KEYFILE"
            )

    def _check_http_security(self) -> None:
        if bool(self.http_tls_certfile) != bool(self.http_tls_keyfile):
            raise SettingsError(
                "STREAMS_HTTP_TLS_CERTFILE and STREAMS_HTTP_TLS_KEYFILE must be given together"
            )
        if self.auth_keys and self.auth_jwks_url:
            raise SettingsError(
                "STREAMS_AUTH_KEYS and STREAMS_AUTH_JWKS_URL cannot both be given: choose one"
            )
        if self.auth_revoked and not self.authenticates:
            raise SettingsError("STREAMS_AUTH_REVOKED needs STREAMS_AUTH_KEYS or _JWKS_URL")
        if self.http_tls_certfile and self.http_advertised_url.startswith("http://"):
            raise SettingsError(
                "STREAMS_HTTP_ADVERTISED_URL must be https://..., with STREAMS_HTTP_TLS_CERTFILE"
            )

    def check_public(self, host: str) -> None:
        """See that nobody is let in without credentials from another machine.

        `host` is the address that the gateway is to listen on.

        Raises:
            SettingsError: it is not this machine's alone, and there are no keys.
        """
        if not self.authenticates and not is_loopback(host):
            raise SettingsError(
                f"no gateway without authentication on {host}, which is not this machine alone: "
                "give STREAMS_AUTH_KEYS or STREAMS_AUTH_JWKS_URL, or listen on 127.0.0.1"
            )

    @property
    def authenticates(self) -> bool:
        """Whether the gateway asks for tokens."""
        return bool(self.auth_keys or self.auth_jwks_url)

    @property
    def _uses_sasl(self) -> bool:
        return self.kafka_security_protocol.startswith("SASL_")

    @property
    def _uses_tls(self) -> bool:
        return self.kafka_security_protocol.endswith("SSL")

    @property
    def app_id(self) -> str:
        """Id of the Faust app, and so of its consumer group."""
        return self._named("streams")

    @property
    def instance_id(self) -> str:
        """Name of this worker in the consumer group, the same after a restart.

        So a worker that died and was started again takes its old place, and nobody waits
        until Kafka takes the dead one for dead.  Machine and URL name a worker: two on one
        machine cannot listen on the same port.
        """
        name = f"{socket.gethostname()} {self.advertised_url}"
        return f"{self.app_id}-{hashlib.sha256(name.encode()).hexdigest()[:20]}"

    @property
    def group_events(self) -> str:
        """Topic of binds, unbinds and messages; keyed by group."""
        return self._named("group-events")

    @property
    def queue_events(self) -> str:
        """Topic of what concerns a queue; keyed by queue."""
        return self._named("queue-events")

    @property
    def dead_letters(self) -> str:
        """Topic of the records that could not be folded."""
        return self._named("dead-letters")

    def changelog(self, table: str) -> str:
        """Name of a table's changelog topic, by Faust's rule."""
        return f"{self.app_id}-{table}-changelog"

    def _named(self, name: str) -> str:
        return f"{self.namespace}.{name}" if self.namespace else name

    @property
    def retention_ms(self) -> int:
        """How long the event topics keep a record, in milliseconds; -1 is for ever."""
        return -1 if self.retention_hours == -1 else self.retention_hours * 3_600_000

    @property
    def advertised_url(self) -> str:
        """Base URL by which other workers reach this one's gateway, without a last slash.

        A gateway that listens on all addresses is known by the machine's name.
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
        """Return the TLS context of the gateway, TLS 1.2 or later; None without TLS.

        Raises:
            SettingsError: a file is no PEM file of the right kind.
        """
        if not self.http_tls_certfile:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.http_tls_certfile, self.http_tls_keyfile, password="")
        except OSError as error:
            raise SettingsError(
                "STREAMS_HTTP_TLS_CERTFILE and STREAMS_HTTP_TLS_KEYFILE must be PEM files of a "
                f"certificate and its key, without a password: {error}"
            ) from error
        return context

    def http_client_tls(self) -> ssl.SSLContext:
        """Return the TLS context for asking gateways, this worker's or others'.

        Raises:
            SettingsError: STREAMS_HTTP_TLS_CAFILE is no PEM file of certificates.
        """
        try:
            context = ssl.create_default_context(cafile=self.http_tls_cafile)
        except OSError as error:
            raise SettingsError(
                f"STREAMS_HTTP_TLS_CAFILE must be a PEM file of certificates: {error}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def librdkafka(self) -> dict[str, str | int | float | bool]:
        """Return what every confluent-kafka client is made with: brokers and security."""
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.brokers,
            "socket.nagle.disable": True,
            # Each attempt to connect is a line otherwise; who needs to know gets an error.
            "log_level": 2,
            # A broker that is back is tried within a second, not within ten.
            "reconnect.backoff.max.ms": 1_000,
        }
        if self._uses_tls or self._uses_sasl:
            config["security.protocol"] = self.kafka_security_protocol
        if self._uses_sasl:
            config["sasl.mechanisms"] = self.kafka_sasl_mechanism
            config["sasl.username"] = self.kafka_sasl_username
            config["sasl.password"] = self.kafka_sasl_password
        files = {
            "ssl.ca.location": self.kafka_ssl_cafile,
            "ssl.certificate.location": self.kafka_ssl_certfile,
            "ssl.key.location": self.kafka_ssl_keyfile,
        }
        config.update({name: str(path) for name, path in files.items() if path})
        return config

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of Python's own Kafka client, or None without TLS.

        Raises:
            SettingsError: a file is no PEM file of the right kind.
        """
        if not self._uses_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        except OSError as error:
            raise SettingsError(
                f"STREAMS_KAFKA_SSL_CAFILE must be a PEM file of certificates: {error}"
            ) from error
        if self.kafka_ssl_certfile:
            try:
                context.load_cert_chain(self.kafka_ssl_certfile, self.kafka_ssl_keyfile)
            except OSError as error:
                raise SettingsError(
                    "STREAMS_KAFKA_SSL_CERTFILE and STREAMS_KAFKA_SSL_KEYFILE must be PEM files "
                    f"of a certificate and its key: {error}"
                ) from error
        return context

    def faust_credentials(self) -> CredentialsT | None:
        """Return what Faust's setting `broker_credentials` takes; None without security."""
        import faust

        context = self.ssl_context()
        if self._uses_sasl:
            return faust.SASLCredentials(
                username=self.kafka_sasl_username,
                password=self.kafka_sasl_password,
                mechanism=self.kafka_sasl_mechanism,
                ssl_context=context,
            )
        return faust.SSLCredentials(context) if context else None


def describe() -> list[Described]:
    """List every setting in order: its variable, default and meaning."""
    return [
        Described(_variable(f.name), f.metadata["shown"], f.metadata["meaning"])
        for f in fields(Settings)
        if f.metadata
    ]


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _unknown(variable: str, known: list[str]) -> str:
    near = difflib.get_close_matches(variable, known, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]}?" if near else "README.md lists them"
    return f"{variable} is no setting; {hint}"
