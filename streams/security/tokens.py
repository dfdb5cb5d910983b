"""Signed tokens: JSON Web Tokens (RFC 7519) with what RFC 8725 says of their dangers."""

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
    """What the claims of a token must say."""

    audience: str
    issuer: str = ""
    """Any, when empty."""
    namespace: str = ""


def verify(token: str, keys: Iterable[Key], rules: Rules) -> Permissions:
    """Check signature, times, audience, issuer and namespace; return what the token grants.

    Raises:
        BadToken: any of them is wrong; the text holds nothing of the token.
        UnknownKey: none of the keys is the one that it names.
    """
    kid, algorithm = _header(token)
    known = [key for key in keys if kid is None or key.kid is None or key.kid == kid]
    if not known:
        raise UnknownKey("the token names a key that is not known")
    # The key says the algorithm, the token only which of the keys may be tried.
    fitting = [key for key in known if key.algorithm == algorithm]
    if not fitting:
        raise BadToken("the token's algorithm is not that of the key")
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
    """Return kid and algorithm; looked at before anything else reads the token."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise BadToken(f"the token is over the limit of {MAX_TOKEN_CHARACTERS} characters")
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
        raise BadToken("the token's header has members that are not known, or no alg")
    return header.get("kid"), header["alg"]


def _reason(error: BaseException) -> str:
    """Return why PyJWT refused a token, in words that hold nothing of it."""
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet"
        case jwt.InvalidAudienceError():
            return "the token is for another audience"
        case jwt.InvalidIssuerError():
            return "the token is of another issuer"
        case jwt.MissingRequiredClaimError():
            return f"the claim {error.claim!r} is missing"
        case _:
            return "the token is malformed"
