"""The public keys that verify tokens, read from a PEM file or a JWK set (RFC 7517).

The type of a key determines the algorithm that a token must use; the token has no say.  This
rules out unsigned tokens and tokens signed with a public key as if it were a shared secret.

================== ======= ==========================================
RSA, 2048 bits up  RS256   PEM `PUBLIC KEY`, or JWK
EC, curve P-256    ES256   PEM `PUBLIC KEY`, or JWK
Ed25519            EdDSA   PEM `PUBLIC KEY`, or JWK
shared secret      HS256   JWK of type `oct`, 256 bits up
================== ======= ==========================================
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import jwt.algorithms
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from streams.errors import SettingsError

MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048
MIN_SECRET_BYTES: Final = 32

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """One key, its algorithm, and its id if it has one."""

    kid: str | None
    algorithm: str
    material: Any = field(repr=False)


def read_keys(content: bytes) -> tuple[Key, ...]:
    """Return the keys in a PEM file or a JWK set.

    Keys in a JWK set that are of another type, or not for verifying signatures, are ignored.

    Raises:
        SettingsError: there is no key, or a key is malformed, too weak or private.
    """
    keys = _jwk_set(content) if content.lstrip().startswith(b"{") else _pem(content)
    if not keys:
        raise SettingsError("no key for RS256, ES256, EdDSA or HS256")
    if len(keys) > MAX_KEYS:
        raise SettingsError(f"more than {MAX_KEYS} keys")
    return tuple(keys)


def _pem(content: bytes) -> list[Key]:
    keys = []
    for block in _PEM.finditer(content):
        if b"PRIVATE" in block[1]:
            raise _private()
        try:
            material = load_pem_public_key(block[0])
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise SettingsError("a PEM block is not a public key") from None
        key = _public(None, material)
        if key is None:
            raise SettingsError("a key is neither RSA, nor EC on P-256, nor Ed25519")
        keys.append(key)
    return keys


def _jwk_set(content: bytes) -> list[Key]:
    try:
        jwks = orjson.loads(content)["keys"]
        if not isinstance(jwks, list) or not all(isinstance(jwk, dict) for jwk in jwks):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise SettingsError('not a JWK set: expected {"keys": [...]}') from None
    return [key for jwk in jwks if (key := _jwk(jwk)) is not None]


def _jwk(jwk: dict[str, Any]) -> Key | None:
    kid, kind, use, uses = jwk.get("kid"), jwk.get("kty"), jwk.get("use"), jwk.get("key_ops")
    if use not in (None, "sig") or (isinstance(uses, list) and "verify" not in uses):
        return None
    if kid is not None and not isinstance(kid, str):
        raise SettingsError("the kid of a key is not a string")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        return None
    if kind != "oct" and "d" in jwk:
        raise _private()
    try:
        material = read(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        if kind in ("EC", "OKP"):  # on a curve that we do not support
            return None
        raise SettingsError("a key is malformed") from None
    key = _secret(kid, material) if kind == "oct" else _public(kid, material)
    if key is not None and jwk.get("alg") not in (None, key.algorithm):
        return None
    return key


_READERS: Final[dict[str, Any]] = {
    "RSA": jwt.algorithms.RSAAlgorithm.from_jwk,
    "EC": jwt.algorithms.ECAlgorithm.from_jwk,
    "OKP": jwt.algorithms.OKPAlgorithm.from_jwk,
    "oct": jwt.algorithms.HMACAlgorithm.from_jwk,
}


def _secret(kid: str | None, secret: bytes) -> Key:
    if len(secret) < MIN_SECRET_BYTES:
        raise SettingsError(f"a secret has fewer than {8 * MIN_SECRET_BYTES} bits")
    return Key(kid, "HS256", secret)


def _public(kid: str | None, material: Any) -> Key | None:
    match material:
        case rsa.RSAPublicKey():
            if material.key_size < MIN_RSA_BITS:
                raise SettingsError(f"an RSA key has fewer than {MIN_RSA_BITS} bits")
            return Key(kid, "RS256", material)
        case ec.EllipticCurvePublicKey() if isinstance(material.curve, ec.SECP256R1):
            return Key(kid, "ES256", material)
        case ed25519.Ed25519PublicKey():
            return Key(kid, "EdDSA", material)
        case _:
            return None


def _private() -> SettingsError:
    return SettingsError(
        "the file holds a private key; workers need only the public one: "
        "openssl pkey -in KEY -pubout -out PUBLIC"
    )
