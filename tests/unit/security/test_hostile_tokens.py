"""Attacks on tokens: algorithms, headers, keys, encodings, times and claims.

Each token differs from a valid one in what its name says, and is refused for it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.errors import BadToken
from streams.security.keys import Key
from streams.security.tokens import MAX_TOKEN_CHARACTERS, Rules, verify

NAMESPACE = "prod"
RULES = Rules("streams", "https://id.example.org", NAMESPACE)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
SECRET = bytes(range(32))
STRANGER = ed25519.Ed25519PrivateKey.generate()
KEYS = (
    Key("rsa", "RS256", RSA.public_key()),
    Key("ec", "ES256", EC.public_key()),
    Key("ed", "EdDSA", ED.public_key()),
    Key("secret", "HS256", SECRET),
)
PRIVATE: dict[str, tuple[str, Any]] = {
    "rsa": ("RS256", RSA),
    "ec": ("ES256", EC),
    "ed": ("EdDSA", ED),
    "secret": ("HS256", SECRET),
}
ADMIN = {"namespace": NAMESPACE, "admin": True}


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def packed(part: Any) -> str:
    return b64(part if isinstance(part, bytes) else json.dumps(part).encode())


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {
        "iss": "https://id.example.org",
        "sub": "mallory",
        "aud": "streams",
        "iat": now,
        "exp": now + 86_400,
        "streams": ADMIN,
        **more,
    }
    return {name: value for name, value in given.items() if value is not ...}


def signed(payload: Any = None, header: Any = None, key: Any = ED, algorithm: str = "EdDSA") -> str:
    """Return a token that is well signed, whatever it says."""
    head = packed({"alg": algorithm} if header is None else header)
    text = f"{head}.{packed(claims() if payload is None else payload)}"
    known = jwt.get_algorithm_by_name(algorithm)
    return f"{text}.{b64(known.sign(text.encode(), known.prepare_key(key)))}"


def algorithms() -> Iterator[tuple[str, str]]:
    """Tokens without a signature, and signatures of an algorithm that is not the key's."""
    for name in ("none", "None", "NONE", "nOnE", "", " ", "null", "EdDSA\0", "eddsa", "Ed25519"):
        for kid in ("ed", "secret"):
            yield (
                f"{name!r} names {kid}, no signature",
                signed(header={"alg": name, "kid": kid}).rpartition(".")[0] + ".",
            )
    for algorithm in ("HS384", "HS512"):
        yield (
            f"{algorithm} by the secret",
            signed(
                key=SECRET + SECRET, algorithm=algorithm, header={"alg": algorithm, "kid": "secret"}
            ),
        )
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        yield (
            f"{algorithm} by the RSA key",
            signed(key=RSA, algorithm=algorithm, header={"alg": algorithm, "kid": "rsa"}),
        )
    for kid, (algorithm, key) in PRIVATE.items():
        other = "ed" if kid != "ed" else "rsa"
        yield (
            f"{algorithm} names {other}",
            signed(key=key, algorithm=algorithm, header={"alg": algorithm, "kid": other}),
        )
    for kid, key in (("rsa", RSA), ("ec", EC), ("ed", ED)):
        public = key.public_key()
        formats = {
            "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        }
        for form, secret in formats.items():
            for named in ({"kid": kid}, {"kid": "secret"}, {}):
                text = f"{packed({'alg': 'HS256', **named})}.{packed(claims())}"
                digest = hmac.digest(secret, text.encode(), hashlib.sha256)
                yield (
                    f"HS256 by the public {kid} key in {form}, names {named}",
                    (f"{text}.{b64(digest)}"),
                )


def headers() -> Iterator[tuple[str, str]]:
    """Headers that bring a key along, or name one by a path, a query or a type."""
    public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(STRANGER.public_key()))
    brought: dict[str, Any] = {
        "jwk": public,
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/cert",
        "x5c": [b64(b"certificate")],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "enc": "A128GCM",
        "p2c": 2_000_000_000,
        "epk": {},
        "iss": "https://id.example.org",
        "exp": 2_000_000_000,
    }
    for name, value in brought.items():
        yield f"header with {name}", signed(header={"alg": "EdDSA", name: value}, key=STRANGER)
        yield f"header with {name}, well signed", signed(header={"alg": "EdDSA", name: value})
    for kid in ("", "ED", "ed ", "../../dev/null", "' OR 1=1 --", "ed\0", "\ud800", "secret/../ed"):
        yield f"kid {kid!r}", signed(header={"alg": "EdDSA", "kid": kid})
    kids: list[Any] = [None, 0, True, ["ed"], {"ed": 1}]
    for odd in kids:
        yield f"kid {odd!r}", signed(header={"alg": "EdDSA", "kid": odd})
    whole: list[Any] = [[], "EdDSA", 7, None, {}, b"{", b'{"alg":"EdDSA"', b"\xff", b"[" * 3000]
    for header in whole:
        yield f"header {header!r:.20}", signed(header=header if header is not None else b"null")


def signatures() -> Iterator[tuple[str, str]]:
    """Signatures of strangers, of other texts, and in other forms."""
    valid = signed()
    head, body, signature = valid.split(".")
    yield "a stranger's", signed(key=STRANGER)
    yield "none", f"{head}.{body}."
    yield "zeros", f"{head}.{body}.{b64(bytes(64))}"
    yield "cut", f"{head}.{body}.{signature[:-4]}"
    yield "longer", f"{head}.{body}.{signature}AAAA"
    yield "of another text", f"{head}.{packed(claims(sub='ann'))}.{signature}"
    yield "of another header", f"{packed({'alg': 'EdDSA', 'typ': 'JWT'})}.{body}.{signature}"
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{valid}.{signature}"
    yield "five parts, as if encrypted", f"{head}...{body}.{signature}"
    yield "JSON form", json.dumps({"protected": head, "payload": body, "signature": signature})
    yield "too long", signed(claims(more="x" * MAX_TOKEN_CHARACTERS))
    yield "outside ASCII", f"{head}.{body}.{signature[:-1]}Ａ"
    text = f"{packed({'alg': 'ES256', 'kid': 'ec'})}.{body}"
    der = EC.sign(text.encode(), ec.ECDSA(SHA256()))
    yield "of the curve, as DER", f"{text}.{b64(der)}"
    yield "of the curve, all zeros", f"{text}.{b64(bytes(64))}"
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, _ = decode_dss_signature(der)
    yield "of the curve, with the order", f"{text}.{b64(r.to_bytes(32) + order.to_bytes(32))}"


def times() -> Iterator[tuple[str, str]]:
    """Times that are past, to come, or no times."""
    now = int(time.time())
    infinity, nan = float("inf"), float("nan")
    yield "expired", signed(claims(exp=now - 60))
    no_times: list[Any] = [..., None, "", "soon", "0x7fffffff", [], {}, [1 << 40], infinity, nan]
    for exp in (0, -1, *no_times):
        yield f"exp {exp!r}", signed(claims(exp=exp))
    for name in ("nbf", "iat"):
        yield f"{name} in an hour", signed(claims(**{name: now + 3600}))
        values: list[Any] = ["then", [], {}, infinity, nan]
        for value in values:
            yield f"{name} {value!r}", signed(claims(**{name: value}))


def contents() -> Iterator[tuple[str, str]]:
    """Claims of another system, of a wrong type, or with permissions that do not exist."""
    others: list[Any] = ["other", "", ["other"], [], ..., None, 7, {"streams": 1}, "Streams"]
    for aud in others:
        yield f"aud {aud!r}", signed(claims(aud=aud))
    issuers: list[Any] = ["https://id.example.com", "https://id.example.org/", "", ..., None, 7, []]
    for iss in issuers:
        yield f"iss {iss!r}", signed(claims(iss=iss))
    subjects: list[Any] = [7, True, [], {}, "", "a\0b", "x" * 256]
    for sub in subjects:
        yield f"sub {sub!r:.20}", signed(claims(sub=sub))
    for given in (..., None, True, "admin", [], ["admin"], {}, {"admin": True}):
        yield f"streams {given!r}", signed(claims(streams=given))
    for namespace in ("other", None, ["prod"], "", "PROD"):
        elsewhere = ADMIN | {"namespace": namespace}
        yield f"namespace {namespace!r}", signed(claims(streams=elsewhere))
    wrong: list[dict[str, Any]] = [
        {"admin": 1},
        {"admin": "true"},
        {"admin": None},
        {"Admin": True},
        {"root": True},
        {"observe": "yes"},
        {"publish": "*"},
        {"publish": [7]},
        {"publish": {"*": 1}},
        {"bind": None},
        {"read": [["@bob"]]},
        *({"rate": rate} for rate in ("1", -1, True, float("nan"), float("inf"))),
    ]
    for more in wrong:
        yield f"streams with {more!r}", signed(claims(streams=ADMIN | more))
    for payload in (b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 2000, b'{"exp":1e400}'):
        yield f"payload {payload!r:.20}", signed(payload)


ATTACKS = [
    pytest.param(text, id=f"{kind.__name__}: {name}")
    for kind in (algorithms, headers, signatures, times, contents)
    for name, text in kind()
]


def test_a_valid_token_of_each_key_is_accepted() -> None:
    for kid, (algorithm, key) in PRIVATE.items():
        text = signed(key=key, algorithm=algorithm, header={"alg": algorithm, "kid": kid})
        assert verify(text, KEYS, RULES).admin


def test_there_are_attacks_of_every_kind() -> None:
    assert len(ATTACKS) >= 112


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_is_refused_without_quoting_the_token(text: str) -> None:
    with pytest.raises(BadToken) as refused:
        verify(text, KEYS, RULES)
    reason = str(refused.value)
    assert len(reason) < 100
    assert "mallory" not in reason
