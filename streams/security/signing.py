"""Creation of keys and tokens, for development and for systems without an identity provider.

Workers never sign; they need only public keys.
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
    """Write a new Ed25519 key pair to two PEM files; only the owner can read the private one.

    Raises:
        StreamsError: a file exists already or cannot be written.
    """
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    known = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, content, mode in ((private, secret, 0o600), (public, known, 0o644)):
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
        except FileExistsError:
            raise StreamsError(f"{path} exists already; keys are never overwritten") from None
        except OSError as error:
            raise StreamsError(f"cannot write {path}: {error.strerror}") from None


def sign(claims: Mapping[str, Any], key: bytes, kid: str | None = None) -> str:
    """Return a signed token with these claims.

    Args:
        claims: the claims of the token.
        key: content of a key file: a private key in PEM without a password, or a JWK set
            whose first key is a shared secret.
        kid: key id for the token's header; by default that of the JWK.

    Raises:
        StreamsError: `key` is neither.
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
        raise StreamsError("the key is public; tokens are signed with the private key")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise StreamsError("the key is not a private key in PEM without a password") from None
    match key:
        case ed25519.Ed25519PrivateKey():
            return key, "EdDSA", None
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1):
            return key, "ES256", None
        case rsa.RSAPrivateKey() if key.key_size >= MIN_RSA_BITS:
            return key, "RS256", None
        case _:
            raise StreamsError("the key is neither Ed25519, nor EC on P-256, nor RSA of 2048 bits")
