"""Histories, rows and tokens for the tests of the domain."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from eventsourcing.persistence import JSONTranscoder, StoredEvent

from keyturn import KeyRing
from keyturn.config.anchor import Mark
from keyturn.domain import provenance
from keyturn.domain.event_mapper import KeyEventMapper
from keyturn.domain.key_ring import KeyRingLike, key_id_of
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.domain.tokens import Claims, KeySet, SessionKey, SigningKey
from tests.domain import golden

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
NOW = 1_750_000_000.25
"""The time of the tokens in the tests, seconds since the epoch."""


def secret(number: int) -> bytes:
    return number.to_bytes(32, "big")


def origin(seconds: float = 0.0, reason: str | None = "a test") -> Origin:
    return Origin("tester@here", reason, NOON + timedelta(seconds=seconds))


def new_keys(ring: KeyRingLike, manager: str = "default") -> SessionKeys:
    return SessionKeys.generate(manager, secret(1), ring, origin())


def history(ring: KeyRingLike, manager: str = "default", *, resets: int = 3) -> list[Any]:
    """A generated key and then resets, as events."""
    keys = new_keys(ring, manager)
    for number in range(2, 2 + resets):
        keys.reset(secret(number), ring, origin(number))
    return list(keys.collect_events())


def mark_of(event: SessionKeys.Event) -> Mark:
    return Mark(event.originator_version, event.digest, event.signature)


def mapper() -> KeyEventMapper:
    return KeyEventMapper(JSONTranscoder())


def signed_row(ring: KeyRing, row: StoredEvent, **changes: object) -> StoredEvent:
    """A row of `golden` with other fields (... leaves one out), signed anew by the node."""
    fields = {**json.loads(row.state), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    id_, position = golden.MANAGER_ID, row.originator_version
    digest = provenance.digest(row.topic, id_, position, fields)
    fields["signature"] = provenance.sign(ring, id_, position, digest)
    return with_state(row, provenance.encode_state(fields))


def with_state(row: StoredEvent, state: bytes) -> StoredEvent:
    return StoredEvent(row.originator_id, row.originator_version, row.topic, state)


# --- tokens ------------------------------------------------------------------------------------


def signing_key(number: int = 1) -> SigningKey:
    return SigningKey(SessionKey(number, key_id_of(secret(number)), secret(number)))


def key_set(*keys: SigningKey) -> KeySet:
    """Keys that are all accepted, the first of them current."""
    return KeySet(keys[0], {key.header: (key, None) for key in keys})


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign_text(key: SigningKey, signing_input: str) -> str:
    """A token with a genuine signature over this text, whatever it says."""
    mac = hmac.digest(secret(key.generation), signing_input.encode(), "sha256")
    return f"{signing_input}.{base64url(mac)}"


def forge(key: SigningKey, payload: bytes) -> str:
    """A token with the right header and signature over any payload."""
    return sign_text(key, f"{key.header}.{base64url(payload)}")


def good_claims(**changes: object) -> Claims:
    """All claims that `mint` writes, changed (... leaves one out)."""
    claims: Claims = {
        "iss": "vnode",
        "sub": "alice",
        "iat": int(NOW),
        "jti": "j" * 22,
        "sid": "s" * 22,
        "auth_time": int(NOW),
        "exp": int(NOW) + 60,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def good_payload(**changes: object) -> bytes:
    return msgspec.json.encode(good_claims(**changes))
