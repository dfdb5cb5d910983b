"""TLS contexts made of the PEM files that settings name; TLS 1.2 is the oldest version accepted.

`variables` is the common prefix of the three settings of one connection, such as
`STREAMS_HTTP_TLS`; errors name the setting that is wrong.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from streams.errors import SettingsError


def server_context(variables: str, certfile: Path, keyfile: Path | None) -> ssl.SSLContext:
    """Return the TLS context of an HTTP/1.1 server.

    Raises:
        SettingsError: the files do not hold a certificate and its key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, variables, certfile, keyfile)
    return context


def client_context(
    variables: str,
    cafile: Path | None,
    certfile: Path | None = None,
    keyfile: Path | None = None,
) -> ssl.SSLContext:
    """Return the TLS context of a client, which checks the server's certificate and name.

    Without `cafile` it trusts the system's certificate authorities.

    Raises:
        SettingsError: `cafile` holds no certificates, or the other two are not a certificate
            and its key.
    """
    try:
        context = ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise SettingsError(
            f"{variables}_CAFILE must be a PEM file of certificates: {error}"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certfile is not None:
        _load_certificate(context, variables, certfile, keyfile)
    return context


def _load_certificate(
    context: ssl.SSLContext, variables: str, certfile: Path, keyfile: Path | None
) -> None:
    try:
        # With a password, even an empty one, OpenSSL does not ask for one on the terminal.
        context.load_cert_chain(certfile, keyfile, password="")
    except OSError as error:
        raise SettingsError(
            f"{variables}_CERTFILE and {variables}_KEYFILE must be PEM files of a certificate "
            f"and its key, without a password: {error}"
        ) from error
