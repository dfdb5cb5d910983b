"""TLS to Kafka, HTTPS and tokens for a run with everything on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from streams.errors import StreamsError
from streams.operate.tokens import make_claims
from streams.security.signing import make_key, sign
from streams.settings import Settings

HOST = "127.0.0.1"
SUBJECT = "faults"
"""The holder of the token, and so the sender of every message."""
TOKEN_HOURS = 48.0


@dataclass(frozen=True, slots=True)
class Security:
    """An authority, certificates of brokers and workers, and a key for tokens; all in a folder."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate of the authority."""
        return self.folder / "authority.pem"

    @property
    def keystore(self) -> Path:
        """The brokers' certificate and key, as Kafka reads them."""
        return self.folder / "keystore.pem"

    def make(self) -> None:
        """Write all files.

        Raises:
            StreamsError: the package that makes certificates is not installed.
        """
        try:
            import trustme
        except ImportError:
            raise StreamsError(
                "--secure needs the package trustme: install streams with its extra `dev`"
            ) from None
        self.folder.mkdir(parents=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert(HOST)
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.folder / "worker.pem").write_bytes(chain)
        certificate.private_key_pem.write_to_path(self.folder / "worker.key")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.keystore.write_bytes(pkcs8 + chain)
        make_key(self.folder / "signing.pem", self.folder / "public.pem")

    def kafka(self, listener: str) -> dict[str, str]:
        """Return the properties of a broker whose listener of this name speaks TLS."""
        prefix = f"listener.name.{listener.lower()}.ssl.keystore"
        return {f"{prefix}.type": "PEM", f"{prefix}.location": str(self.keystore)}

    def gateway(self, namespace: str) -> dict[str, str]:
        """Return the settings of workers and clients for HTTPS and tokens."""
        settings = {
            "STREAMS_HTTP_TLS_CERTFILE": str(self.folder / "worker.pem"),
            "STREAMS_HTTP_TLS_KEYFILE": str(self.folder / "worker.key"),
            "STREAMS_HTTP_TLS_CAFILE": str(self.authority),
            "STREAMS_AUTH_KEYS": str(self.folder / "public.pem"),
        }
        known = Settings.from_env({**settings, "STREAMS_NAMESPACE": namespace})
        claims = make_claims(known, {"admin": True, "rate": 0}, SUBJECT, TOKEN_HOURS)
        key = (self.folder / "signing.pem").read_bytes()
        return settings | {"STREAMS_TOKEN": sign(claims, key, None)}

    def kafka_client(self) -> dict[str, str]:
        """Return the settings of workers and clients for TLS to Kafka."""
        return {
            "STREAMS_KAFKA_SECURITY_PROTOCOL": "SSL",
            "STREAMS_KAFKA_SSL_CAFILE": str(self.authority),
        }
