"""What others do with an equal token: the same claims, signed and checked, expiry included.

Each peer is used as its documentation says, and what can be made once is made once. None of
them looks whether the key is still the current one.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import joserfc.jwk
import joserfc.jwt
import jwt
from cryptography.fernet import Fernet
from itsdangerous import URLSafeTimedSerializer

EXPIRY = 24 * 60 * 60
FLOOR = "bare HMAC, base64, JSON"


@dataclass(frozen=True)
class Peer:
    """A library: how it makes a token with fresh claims, and how it checks one."""

    name: str
    create: Callable[[], Any]
    verify: Callable[[Any], Any]


def all_peers(secret: bytes, key_id: str, node_id: str) -> list[Peer]:
    """Return the peers; PyJWT, whom a goal is about, is the first, and the floor is the last."""

    def claims() -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": node_id,
            "sub": node_id,
            "iat": now,
            "jti": secrets.token_urlsafe(16),
            "sid": secrets.token_urlsafe(16),
            "auth_time": now,
            "exp": now + EXPIRY,
        }

    return [
        pyjwt(secret, key_id, claims),
        joserfc_(secret, key_id, claims),
        itsdangerous_(secret, claims),
        fernet(claims),
        floor(secret, key_id, claims),
    ]


def pyjwt(secret: bytes, key_id: str, claims: Callable[[], dict[str, Any]]) -> Peer:
    """PyJWT."""
    return Peer(
        "PyJWT",
        lambda: jwt.encode(claims(), secret, "HS256", headers={"kid": key_id}),
        lambda token: jwt.decode(token, secret, ["HS256"]),
    )


def joserfc_(secret: bytes, key_id: str, claims: Callable[[], dict[str, Any]]) -> Peer:
    """Use joserfc, which leaves the claims to a registry."""
    key, registry = joserfc.jwk.OctKey.import_key(secret), joserfc.jwt.JWTClaimsRegistry()
    header = {"alg": "HS256", "kid": key_id, "typ": "JWT"}
    return Peer(
        "joserfc",
        lambda: joserfc.jwt.encode(header, claims(), key),
        lambda token: registry.validate(joserfc.jwt.decode(token, key, ["HS256"]).claims),
    )


def itsdangerous_(secret: bytes, claims: Callable[[], dict[str, Any]]) -> Peer:
    """Use itsdangerous, whose tokens are no JWT and have a time of their own."""
    serializer = URLSafeTimedSerializer(secret)
    return Peer(
        "itsdangerous",
        lambda: serializer.dumps(claims()),
        lambda token: serializer.loads(token, max_age=EXPIRY),
    )


def fernet(claims: Callable[[], dict[str, Any]]) -> Peer:
    """Fernet of `cryptography`, whose tokens are encrypted and have a time of their own."""
    box = Fernet(Fernet.generate_key())
    return Peer(
        "Fernet",
        lambda: box.encrypt(json.dumps(claims()).encode()),
        lambda token: json.loads(box.decrypt(token, ttl=EXPIRY)),
    )


def floor(secret: bytes, key_id: str, claims: Callable[[], dict[str, Any]]) -> Peer:
    """The least that any of them can do, as one would write it with the standard library.

    HMAC-SHA256 in one call, base64, JSON, and one look at the expiry: no other header is known,
    no type is looked at, no other spelling refused, and no key can be reset.
    """
    header = _base64url(f'{{"alg":"HS256","kid":"{key_id}","typ":"JWT"}}'.encode())

    def create() -> str:
        payload = _base64url(json.dumps(claims(), separators=(",", ":")).encode())
        signing_input = header + b"." + payload
        mac = hmac.digest(secret, signing_input, "sha256")
        return (signing_input + b"." + _base64url(mac)).decode()

    def verify(token: str) -> dict[str, Any]:
        signing_input, _, signature = token.encode().rpartition(b".")
        head, _, payload = signing_input.partition(b".")
        mac = hmac.digest(secret, signing_input, "sha256")
        if head != header or not hmac.compare_digest(_base64url(mac), signature):
            raise ValueError("not a token of ours")
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + b"=="))
        if time.time() >= found["exp"]:
            raise ValueError("expired")
        return found

    return Peer(FLOOR, create, verify)


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
