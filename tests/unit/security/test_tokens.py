"""Tokens: accepted only if signed by a known key with its algorithm, for this system, now."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from streams.errors import BadToken, SettingsError, StreamsError, UnknownKey
from streams.security.keys import Key, read_keys
from streams.security.signing import make_key, sign
from streams.security.tokens import MAX_TOKEN_CHARACTERS, Rules, verify

RULES = Rules("streams")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = bytes(range(32))


def private_pem(key: Any) -> bytes:
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return content


def public_pem(key: Any) -> bytes:
    content: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return content


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    if isinstance(key, bytes):
        return {"kty": "oct", "k": b64(key), **more}
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    algorithm = next(a for kind, a in kinds.items() if isinstance(key, kind))
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), **more}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


KEYS = read_keys(
    jwks(jwk(RSA, kid="rsa"), jwk(EC, kid="ec"), jwk(ED, kid="ed"), jwk(SECRET, kid="secret"))
)


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {
        "sub": "bob",
        "aud": "streams",
        "iat": now,
        "exp": now + 60,
        "streams": {"read": ["@bob"]},
        **more,
    }
    return {name: value for name, value in given.items() if value is not None}


def token(key: Any = ED, algorithm: str = "EdDSA", kid: str | None = "ed", **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers=None if kid is None else {"kid": kid})


def raw(header: Any, payload: Any, signature: bytes = b"") -> str:
    parts = [json.dumps(part).encode() if not isinstance(part, bytes) else part
             for part in (header, payload)]  # fmt: skip
    return ".".join(map(b64, [*parts, signature]))


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed"), (SECRET, "HS256", "secret")],
)
def test_each_type_of_key_verifies_tokens(key: Any, algorithm: str, kid: str) -> None:
    for named in (kid, None):
        permissions = verify(token(key, algorithm, named), KEYS, RULES)
        assert permissions.subject == "bob"
        permissions.check_queue("bob")


@pytest.mark.parametrize("key", [RSA, EC, ED])
def test_keys_in_pem_and_our_own_signing(key: Any) -> None:
    signed = sign(claims(), private_pem(key))

    assert verify(signed, read_keys(public_pem(key)), RULES).subject == "bob"
    # A key without an id is tried, whatever key the token names
    named = sign(claims(), private_pem(key), "any")
    assert verify(named, read_keys(public_pem(EC) + public_pem(key)), RULES).subject == "bob"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "RS256", "EdDSA", "PS256"])
def test_an_unsigned_token_is_refused(alg: str) -> None:
    for kid in ({}, {"kid": "ed"}, {"kid": "rsa"}, {"kid": "secret"}):
        with pytest.raises(BadToken):
            verify(raw({"alg": alg, **kid}, claims()), KEYS, RULES)


@pytest.mark.parametrize("key", [RSA, EC, ED])
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_not_accepted_as_a_secret(key: Any, alg: str) -> None:
    # Given a token signed with the bytes of the public key, which everyone knows
    public = public_pem(key)
    raw_public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (public, public.strip(), raw_public):
        for kid in ({}, {"kid": "rsa"}, {"kid": "ec"}, {"kid": "ed"}):
            head = raw({"alg": alg, **kid}, claims()).rsplit(".", 1)[0]
            digest = getattr(hashlib, f"sha{alg[2:]}")
            forged = f"{head}.{b64(hmac.digest(secret, head.encode(), digest))}"

            # Then it is refused, whichever keys are configured
            for keys in (read_keys(public), KEYS):
                with pytest.raises(BadToken):
                    verify(forged, keys, RULES)


def test_a_key_verifies_one_algorithm() -> None:
    for algorithm in ("RS384", "RS512", "PS256"):
        with pytest.raises(BadToken, match="algorithm"):
            verify(token(RSA, algorithm, "rsa"), KEYS, RULES)
    with pytest.raises(BadToken, match="algorithm"):
        verify(token(ED, "EdDSA", "rsa"), KEYS, RULES)


def test_an_unknown_key() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(UnknownKey):
        verify(token(kid="next"), KEYS, RULES)
    for kid in ("ed", None):
        with pytest.raises(BadToken, match="signature"):
            verify(token(other, kid=kid), KEYS, RULES)
    with pytest.raises(UnknownKey):
        verify(token(), (), RULES)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"exp": int(time.time()) - 11}, "expired"),
        ({"exp": None}, "'exp' is missing"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": int(time.time() * 1000) + 60_000}, "'exp' must be in seconds"),
        ({"exp": float("inf")}, "malformed"),
        ({"exp": float("nan")}, "malformed"),
        ({"exp": [1]}, "malformed"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ({"iat": int(time.time()) + 86_400}, "not valid yet"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["other"]}, "audience"),
        ({"aud": None}, "'aud' is missing"),
        ({"aud": ""}, "aud"),
        ({"streams": None}, "'streams' is missing"),
        ({"sub": 7}, "malformed"),
        ({"streams": {"namespace": "other"}}, "namespace"),
    ],
)
def test_wrong_claims_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(BadToken, match=says):
        verify(token(**wrong), KEYS, RULES)


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    verify(token(exp=now - 5), KEYS, RULES)
    verify(token(nbf=now + 5, iat=now + 5), KEYS, RULES)
    verify(token(aud=["other", "streams"]), KEYS, RULES)


def test_the_issuer_is_checked_if_one_is_set() -> None:
    rules = Rules("streams", "https://id.example.org")
    verify(token(iss="https://id.example.org"), KEYS, rules)
    for issuer in (None, "https://id.example.com"):
        with pytest.raises(BadToken):
            verify(token(iss=issuer), KEYS, rules)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "ä.b.c",
        "x" * (MAX_TOKEN_CHARACTERS + 1),
        raw(b"[" * 3000, b""),
        raw(b"\xff", b""),
        raw([], {}),
        raw({"alg": ["EdDSA"]}, {}),
        raw({}, {}),
        raw({"alg": "EdDSA", "kid": 7}, {}),
        raw({"alg": "EdDSA", "crit": ["exp"]}, {}),
        raw({"alg": "EdDSA", "jku": "https://evil.example.org/keys"}, {}),
        raw({"alg": "EdDSA", "jwk": {"kty": "oct"}}, {}),
        raw({"alg": "EdDSA", "b64": "false"}, {}),
    ],
)
def test_malformed_tokens_are_refused(text: str) -> None:
    with pytest.raises(BadToken) as refused:
        verify(text, KEYS, RULES)
    assert len(str(refused.value)) < 100


def test_a_modified_token_is_refused() -> None:
    head, body, signature = token().split(".")
    others = json.loads(base64.urlsafe_b64decode(body + "=="))
    others["sub"] = "ann"
    for text in (
        f"{head}.{b64(json.dumps(others).encode())}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
    ):
        with pytest.raises(BadToken):
            verify(text, KEYS, RULES)


def test_no_error_quotes_the_token() -> None:
    for text in (
        token(exp=1, sub="very-secret"),
        token(kid="very-secret"),
        token(aud="very-secret"),
        token(streams={"publish": "very-secret"}),
        token(streams={"very-secret": True}),
    ):
        with pytest.raises(BadToken) as refused:
            verify(text, KEYS, RULES)
        assert "very-secret" not in str(refused.value)


# Keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no key"),
        (b"hello", "no key"),
        (b"{", "not a JWK set"),
        (b'{"keys": 1}', "not a JWK set"),
        (b'{"keys": [1]}', "not a JWK set"),
        (jwks(), "no key"),
        (private_pem(ED), "private"),
        (private_pem(RSA) + public_pem(RSA), "private"),
        (jwks(jwk(ED, d="AAAA")), "private"),
        (jwks(jwk(b"short")), "fewer than 256 bits"),
        (jwks(jwk(RSA, n="!")), "malformed"),
        (jwks(jwk(ED, kid=7)), "kid"),
        (public_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "2048"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "neither"),
        (public_pem(ed448.Ed448PrivateKey.generate()), "neither"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a public key"),
        (jwks(*[jwk(ED)] * 65), "more than 64"),
    ],
)
def test_unusable_keys_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_keys(content)


def test_keys_for_other_purposes_are_ignored() -> None:
    keys = read_keys(
        jwks(
            jwk(RSA, kid="encrypts", use="enc"),
            jwk(RSA, kid="stronger", alg="RS512"),
            jwk(RSA, kid="wraps", key_ops=["wrapKey"]),
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "curve"},
            {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "exchange"},
            {"kty": "new", "kid": "new"},
            jwk(ED, kid="ed", use="sig", alg="EdDSA"),
        )
    )

    assert [(key.kid, key.algorithm) for key in keys] == [("ed", "EdDSA")]


def test_the_repr_of_a_key_hides_it() -> None:
    shown = repr(read_keys(jwks(jwk(SECRET)))) + repr(Key("a", "HS256", SECRET))
    assert repr(SECRET) not in shown
    assert b64(SECRET) not in shown


def test_a_new_key_is_private_to_its_owner_and_never_overwritten(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    make_key(private, public)

    assert private.stat().st_mode & 0o777 == 0o600
    signed = sign(claims(), private.read_bytes())
    assert verify(signed, read_keys(public.read_bytes()), RULES).subject == "bob"
    with pytest.raises(StreamsError, match="exists already"):
        make_key(private, tmp_path / "other.pem")
    with pytest.raises(StreamsError, match="not a private key"):
        sign(claims(), public.read_bytes())


def test_signing_with_a_secret() -> None:
    signed = sign(claims(), jwks(jwk(SECRET, kid="secret")))
    assert verify(signed, KEYS, RULES).subject == "bob"
    with pytest.raises(StreamsError, match="is public"):
        sign(claims(), jwks(jwk(ED)))
