"""How clients authenticate to Kafka and encrypt the connection: librdkafka's and Faust's.

The same settings for both clients.  Imports Faust only when its credentials are requested.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.errors import SettingsError
from streams.kafka.defaults import ClientConfig
from streams.tls import client_context

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

SECURITY_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

_TLS_VARIABLES: Final = "STREAMS_KAFKA_SSL"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """Security protocol, SASL credentials and TLS files of connections to Kafka."""

    protocol: str = "PLAINTEXT"
    """One of `SECURITY_PROTOCOLS`."""
    mechanism: str = "PLAIN"
    """One of `SASL_MECHANISMS`; used with SASL."""
    username: str = ""
    password: str = field(default="", repr=False)
    cafile: Path | None = None
    """Certificate authorities to trust; the system's when None."""
    certfile: Path | None = None
    keyfile: Path | None = None

    @property
    def uses_sasl(self) -> bool:
        """Whether the client authenticates with a user name and a password."""
        return self.protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol.endswith("SSL")

    def check(self) -> None:
        """Check that credentials and files fit the protocol.

        Without this check a setting would have no effect, or fail only at the first connection.

        Raises:
            SettingsError: one is missing, or would not be used.
        """
        protocol = f"STREAMS_KAFKA_SECURITY_PROTOCOL={self.protocol}"
        credentials = {
            "STREAMS_KAFKA_SASL_USERNAME": self.username,
            "STREAMS_KAFKA_SASL_PASSWORD": self.password,
        }
        files = {
            "STREAMS_KAFKA_SSL_CAFILE": self.cafile,
            "STREAMS_KAFKA_SSL_CERTFILE": self.certfile,
            "STREAMS_KAFKA_SSL_KEYFILE": self.keyfile,
        }
        for variable, text in credentials.items():
            if self.uses_sasl and not text:
                raise SettingsError(f"{variable} must be set with {protocol}")
        for used, given in ((self.uses_sasl, credentials), (self.uses_tls, files)):
            unused = [] if used else [variable for variable, value in given.items() if value]
            if unused:
                raise SettingsError(f"{unused[0]} has no effect with {protocol}")
        if self.keyfile and not self.certfile:
            raise SettingsError(
                "STREAMS_KAFKA_SSL_CERTFILE must be set with STREAMS_KAFKA_SSL_KEYFILE"
            )

    def librdkafka(self) -> ClientConfig:
        """Return the configuration of librdkafka; empty without security."""
        config: ClientConfig = {}
        if self.uses_tls or self.uses_sasl:
            config["security.protocol"] = self.protocol
        if self.uses_sasl:
            config["sasl.mechanisms"] = self.mechanism
            config["sasl.username"] = self.username
            config["sasl.password"] = self.password
        files = {
            "ssl.ca.location": self.cafile,
            "ssl.certificate.location": self.certfile,
            "ssl.key.location": self.keyfile,
        }
        config.update({name: str(path) for name, path in files.items() if path})
        return config

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of Faust's client; None without TLS.

        Raises:
            SettingsError: a file is not a PEM file of the right kind.
        """
        if not self.uses_tls:
            return None
        return client_context(_TLS_VARIABLES, self.cafile, self.certfile, self.keyfile)

    def faust_credentials(self) -> CredentialsT | None:
        """Return the value of Faust's setting `broker_credentials`; None without security.

        Raises:
            SettingsError: a file is not a PEM file of the right kind.
        """
        import faust

        context = self.ssl_context()
        if self.uses_sasl:
            return faust.SASLCredentials(
                username=self.username,
                password=self.password,
                mechanism=self.mechanism,
                ssl_context=context,
            )
        return faust.SSLCredentials(context) if context else None
