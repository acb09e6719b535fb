"""Vectors of what needs a key: sealed keys, key rings and tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from keyturn.domain.key_ring import key_id_of
from keyturn.domain.stored_events import read_event
from tests.domain import golden
from tests.domain.builders import old_rows
from tests.spec.building import COMPACT, NODE, Vector, bad, good

NOW = 1_800_000_000


def sealed_keys() -> list[Vector]:
    event = read_event(old_rows("v2.jsonl")[0])
    place = {
        "sealing_key": bytes(range(32)).hex(),
        "manager": "default",
        "generation": 1,
        "key_id": event.key_id,
        "sealed_key": event.sealed_key,  # type: ignore[attr-defined]
    }
    altered = place["sealed_key"][:-1] + "A"
    return [
        good("the first key of the old log", **place, key=(bytes([1]) * 32).hex()),
        bad("it was sealed for another generation", **{**place, "generation": 2}),
        bad("it was sealed for another manager", **{**place, "manager": "another"}),
        bad("it was sealed for another key id", **{**place, "key_id": key_id_of(bytes(32))}),
        bad("another key ring", **{**place, "sealing_key": bytes(32).hex()}),
        bad("its last byte was altered", **{**place, "sealed_key": altered}),
    ]


def key_rings() -> list[Vector]:
    plain, locked = golden.OPEN_KEY_RING.decode(), golden.LOCKED_KEY_RING.decode()
    secrets = {"seed": bytes(32).hex(), "sealing_key": bytes(range(32)).hex()}
    greedy = locked.replace("65536", "4194304")
    return [
        good("without a password", file=plain, password=None, **secrets),
        good("with one", file=locked, password="golden", **secrets),
        bad("another password", file=locked, password="silver"),
        bad("no password for one that has one", file=locked, password=None),
        bad("a password for one that has none", file=plain, password="golden"),
        bad("the checksum is wrong", file=plain.replace("a4f2", "a4f3"), password=None),
        bad("an altered node id", file=plain.replace("v7dl", "v7dk"), password=None),
        bad("a version to come", file=plain.replace(": 1,", ": 2,"), password=None),
        bad("Argon2id with more memory than any", file=rechecked(greedy), password="golden"),
    ]


def rechecked(file: str) -> str:
    """The key ring with the checksum that is right for it."""
    ring = json.loads(file)
    names = ("format", "version", "node_id", "kdf")
    bound = json.dumps([ring[name] for name in names], sort_keys=True, **COMPACT)
    ring["checksum"] = hashlib.sha256((bound + ring["secrets"]).encode()).hexdigest()
    return json.dumps(ring, indent=2) + "\n"


def tokens() -> list[Vector]:
    key = bytes([1]) * 32
    header = {"alg": "HS256", "kid": key_id_of(key), "typ": "JWT"}
    claims = {
        "iss": NODE,
        "sub": "alice",
        "iat": NOW,
        "jti": "jjjjjjjjjjjjjjjjjjjjjj",
        "sid": "ssssssssssssssssssssss",
        "auth_time": NOW,
        "keyturn_pos": 1,
        "exp": NOW + 3600,
    }

    def token(payload: str, head: str | None = None, algorithm: str = "sha256") -> str:
        first = head if head is not None else json.dumps(header, **COMPACT)
        text = f"{base64url(first.encode())}.{base64url(payload.encode())}"
        return f"{text}.{base64url(hmac.digest(key, text.encode(), algorithm))}"

    def of(**changes: object) -> str:
        changed = {**claims, **changes}
        return token(json.dumps({k: v for k, v in changed.items() if v is not ...}, **COMPACT))

    plain = json.dumps(claims, **COMPACT)
    text = of()
    shared = {"key": key.hex(), "now": NOW}
    goods = [
        ("a token", text),
        ("it never expires", of(exp=...)),
        ("it expires in this second, through which it is good", of(exp=NOW)),
        ("claims of the host's own, of every kind of JSON",
         of(role="admin", ünï=[1, 2.5, None, True, {"a": "b"}, -3], text="\x00\n\"\\é😀")),
        ("of version 0.1: no position", of(keyturn_pos=...)),
    ]  # fmt: skip
    bads = [
        ("malformed", "empty", ""),
        ("malformed", "two parts", text.rpartition(".")[0]),
        ("malformed", "four parts", text + ".e30"),
        ("bad signature", "padding", text + "="),
        ("bad signature", "a line feed at the end", text + "\n"),
        ("malformed", "not ASCII", text + "é"),
        ("malformed", "longer than 8192 characters", of(text="x" * 8192)),
        ("bad signature", "another byte in the signature", flipped(text)),
        ("bad signature", "unused bits in the last character", text[:-1] + next_of(text[-1])),
        ("malformed", "no signature, and alg none", token(plain, '{"alg":"none","typ":"JWT"}')),
        ("malformed", "another algorithm", token(plain, json.dumps({**header, "alg": "HS512"},
                                                                **COMPACT), algorithm="sha512")),
        ("malformed", "the header's members in another order",
         token(plain, json.dumps(dict(reversed(header.items())), **COMPACT))),
        ("malformed", "another member in the header",
         token(plain, json.dumps({**header, "crit": ["a"]}, **COMPACT))),
        ("unknown key", "a key that is not there",
         token(plain, json.dumps({**header, "kid": key_id_of(bytes([2]) * 32)}, **COMPACT))),
        ("malformed", "white space in the payload", token(json.dumps(claims))),
        ("malformed", "an escape without need", token(plain.replace("alice", "\\u0061lice"))),
        ("malformed", "a claim twice", token(plain[:-1] + ',"sub":"bob"}')),
        ("malformed", "the payload is a list", token("[]")),
        ("malformed", "a claim is missing", of(sid=...)),
        ("malformed", "a time is a fraction", of(exp=NOW + 0.5)),
        ("malformed", "a subject is a number", of(sub=7)),
        ("expired", "it expired a second ago", of(exp=NOW - 1)),
    ]  # fmt: skip
    return [good(why, **shared, token=each) for why, each in goods] + [
        bad(why, **shared, token=each, reason=reason) for reason, why, each in bads
    ]


def flipped(token: str) -> str:
    return token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]


def next_of(character: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) + 1]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
