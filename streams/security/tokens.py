"""Verification of signed tokens: JSON Web Tokens (RFC 7519), with the precautions of RFC 8725."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import jwt
import orjson

from streams.errors import BadToken, UnknownKey
from streams.security.keys import Key
from streams.security.permissions import LEEWAY_SECONDS, Permissions, permissions_of

MAX_TOKEN_CHARACTERS: Final = 4096

_HEADER_NAMES: Final = frozenset({"alg", "cty", "kid", "typ", "x5t", "x5t#S256"})
_UNREADABLE: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Rules:
    """Required values of a token's claims."""

    audience: str
    issuer: str = ""
    """Empty for any issuer."""
    namespace: str = ""


def verify(token: str, keys: Iterable[Key], rules: Rules) -> Permissions:
    """Check signature, times, audience, issuer and namespace; return the token's permissions.

    Raises:
        BadToken: one of them is wrong; the text contains nothing of the token.
        UnknownKey: the token names a key that is not among `keys`.
    """
    kid, algorithm = _header(token)
    known = [key for key in keys if kid is None or key.kid is None or key.kid == kid]
    if not known:
        raise UnknownKey("the token names an unknown key")
    # The algorithm comes from the key; the token only selects which keys to try.
    fitting = [key for key in known if key.algorithm == algorithm]
    if not fitting:
        raise BadToken("the token's algorithm does not match the key")
    for key in fitting:
        try:
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                audience=rules.audience,
                issuer=rules.issuer or None,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud"]},
            )
        except jwt.InvalidSignatureError:
            continue
        except _UNREADABLE as error:
            raise BadToken(_reason(error)) from None
        return permissions_of(claims, rules.namespace)
    raise BadToken("the signature is wrong")


def _header(token: str) -> tuple[str | None, str]:
    """Return the key id and the algorithm; checks the header before anything else reads it."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise BadToken(f"the token exceeds the limit of {MAX_TOKEN_CHARACTERS} characters")
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise BadToken("not a signed JSON Web Token")
    try:
        padded = parts[0] + "=" * (-len(parts[0]) % 4)
        header = orjson.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        raise BadToken("not a signed JSON Web Token") from None
    if not isinstance(header, dict) or not all(isinstance(v, str) for v in header.values()):
        raise BadToken("the token's header must be an object of strings")
    if not header.keys() <= _HEADER_NAMES or "alg" not in header:
        raise BadToken("the token's header has unknown members or no alg")
    return header.get("kid"), header["alg"]


def _reason(error: BaseException) -> str:
    """Return why PyJWT rejected a token, without quoting it."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet"
        case jwt.InvalidAudienceError():
            return "the token is for another audience"
        case jwt.InvalidIssuerError():
            return "the token is from another issuer"
        case jwt.MissingRequiredClaimError():
            return f"the claim {error.claim!r} is missing"
        case _:
            return "the token is malformed"
