"""Making keys and tokens, for development and for those who have no identity provider.

Workers never sign: they need public keys alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from streams.errors import StreamsError
from streams.security.keys import MIN_RSA_BITS, read_keys


def make_key(private: Path, public: Path) -> None:
    """Write a new Ed25519 key to two PEM files, the private one for its owner's eyes alone.

    Raises:
        StreamsError: a file is there already, or cannot be written.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    known = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, content, mode in ((private, secret, 0o600), (public, known, 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except FileExistsError:
            raise StreamsError(f"{path} is there already; keys are not overwritten") from None
        except OSError as error:
            raise StreamsError(f"cannot write {path}: {error.strerror}") from None


def sign(claims: Mapping[str, Any], key: bytes, kid: str | None = None) -> str:
    """Return a token with these claims.

    `key` is the content of a file: a private key in PEM without a password, or a JWK set
    whose first key is a secret.

    Raises:
        StreamsError: it is neither.
    """
    material, algorithm, own_kid = _signing_key(key)
    kid = kid or own_kid
    headers = None if kid is None else {"kid": kid}
    return jwt.encode(dict(claims), material, algorithm=algorithm, headers=headers)


def _signing_key(content: bytes) -> tuple[Any, str, str | None]:
    if content.lstrip().startswith(b"{"):
        first = read_keys(content)[0]
        if first.algorithm == "HS256":
            return first.material, first.algorithm, first.kid
        raise StreamsError("the key is a public one; tokens are signed with the private one")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise StreamsError("the key is no private key in PEM without a password") from None
    match key:
        case ed25519.Ed25519PrivateKey():
            return key, "EdDSA", None
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1):
            return key, "ES256", None
        case rsa.RSAPrivateKey() if key.key_size >= MIN_RSA_BITS:
            return key, "RS256", None
        case _:
            raise StreamsError("the key is neither Ed25519, nor EC on P-256, nor RSA of 2048 bits")
