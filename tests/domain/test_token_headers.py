"""Headers: a key has one, byte for byte, and signing another one does not help (G3)."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.key_ring import key_id_of
from keyturn.domain.tokens import mint, verify
from tests.domain.builders import (
    NOW,
    base64url,
    key_set,
    secret,
    sign_text,
    signing_key,
)

KEY = signing_key()
KEYS = key_set(KEY, signing_key(2))
TOKEN = mint(
    KEY, issuer="vnode", subject="alice", began=1, now=NOW, expiry=60, claims={"role": "a>?~"}
)
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")


def is_accepted(token: object) -> bool:
    """Whether it is good; any other exception than the promised one is a failure."""
    try:
        verify(token, KEYS, NOW, 1000)
    except TokenRefusedError:
        return False
    return True


def header_of(**members: object) -> str:
    members = {"alg": "HS256", "kid": KEY.key_id, "typ": "JWT", **members}
    found = {name: value for name, value in members.items() if value is not ...}
    return base64url(json.dumps(found, separators=(",", ":")).encode())


RAW = f'"alg":"HS256","kid":"{KEY.key_id}","typ":"JWT"'
HEADERS = {
    "alg none": header_of(alg="none"),
    "alg None": header_of(alg="None"),
    "alg empty": header_of(alg=""),
    "alg null": header_of(alg=None),
    "alg in lower case": header_of(alg="hs256"),
    "no alg": header_of(alg=...),
    "alg HS512": header_of(alg="HS512"),
    "alg RS256": header_of(alg="RS256"),
    "alg EdDSA": header_of(alg="EdDSA"),
    "alg a list": header_of(alg=["HS256"]),
    "typ in lower case": header_of(typ="jwt"),
    "typ at+jwt": header_of(typ="at+jwt"),
    "no typ": header_of(typ=...),
    "no kid": header_of(kid=...),
    "kid null": header_of(kid=None),
    "kid a number": header_of(kid=1),
    "kid a path": header_of(kid="../../dev/null"),
    "kid SQL": header_of(kid="' OR '1'='1"),
    "kid unknown": header_of(kid=key_id_of(b"?")),
    "kid of another key": header_of(kid=signing_key(2).key_id),
    "jwk": header_of(jwk={"kty": "oct", "k": base64url(secret(1))}),
    "jku": header_of(jku="https://evil.example/keys"),
    "x5u": header_of(x5u="https://evil.example/cert"),
    "crit": header_of(crit=["exp"]),
    "b64 false": header_of(b64=False, crit=["b64"]),
    "zip": header_of(zip="DEF"),
    "cty": header_of(cty="JWT"),
    "another order": base64url(f'{{"typ":"JWT","kid":"{KEY.key_id}","alg":"HS256"}}'.encode()),
    "white space": base64url(f"{{ {RAW} }}".encode()),
    "a line feed": base64url(f"{{{RAW}}}\n".encode()),
    "alg twice": base64url(f'{{"alg":"none",{RAW}}}'.encode()),
    "alg twice, the other way": base64url(f'{{{RAW},"alg":"none"}}'.encode()),
    "kid twice": base64url(f'{{"kid":"x",{RAW}}}'.encode()),
    "an escape": base64url(f"{{{RAW}}}".replace("HS256", "\\u0048S256").encode()),
    "UTF-16": base64url(f"{{{RAW}}}".encode("utf-16")),
    "a byte order mark": base64url(b"\xef\xbb\xbf" + f"{{{RAW}}}".encode()),
    "padding": HEADER + "=",
    "no JSON": base64url(b"header"),
    "a list": base64url(b'["HS256"]'),
    "deep objects": base64url(b'{"a":' * 1050),
    "deep lists": base64url(b"[" * 5500),
    "empty": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_g3_a_token_with_another_header_is_refused_even_if_signed(header: str) -> None:
    assert not is_accepted(sign_text(KEY, f"{header}.{PAYLOAD}"))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "HS256"])
@pytest.mark.parametrize("signature", ["", "A", "A" * 43, "none"])
def test_g3_an_unsigned_token_is_refused(alg: str, signature: str) -> None:
    assert not is_accepted(f"{header_of(alg=alg)}.{PAYLOAD}.{signature}")


@pytest.mark.parametrize("algorithm", ["sha1", "sha384", "sha512", "sha3_256", "blake2s"])
def test_g3_a_signature_of_another_algorithm_is_refused(algorithm: str) -> None:
    signing_input = f"{HEADER}.{PAYLOAD}"
    mac = hmac.new(secret(1), signing_input.encode(), algorithm).digest()

    assert not is_accepted(f"{signing_input}.{base64url(mac)}")
    assert not is_accepted(f"{signing_input}.{base64url(mac[:32])}")


@pytest.mark.parametrize(
    "key", [b"", b"\0", KEY.key_id.encode(), secret(2), secret(1).hex().encode()]
)
def test_g3_a_signature_of_another_key_is_refused(key: bytes) -> None:
    mac = hmac.new(key, f"{HEADER}.{PAYLOAD}".encode(), hashlib.sha256).digest()

    assert not is_accepted(f"{HEADER}.{PAYLOAD}.{base64url(mac)}")
