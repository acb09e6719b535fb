"""Histories, rows and tokens for the tests of the domain."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from eventsourcing.persistence import JSONTranscoder, StoredEvent

from keyturn import KeyRing
from keyturn.domain import chain
from keyturn.domain.claims import Claims
from keyturn.domain.ended_sessions import EndedSessions
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike, key_id_of
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import Origin, SessionKeys, manager_id
from keyturn.domain.stored_events import KeyEventMapper
from keyturn.domain.tokens import KeySet, SessionKey, SigningKey
from keyturn.projections.export import lines_of, read_lines
from tests.domain import golden

OLD_LOGS = Path(__file__).parent.parent / "old_logs"
NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
NOW = 1_750_000_000.25
"""The time of the tokens in the tests, seconds since the epoch."""


def secret(number: int) -> bytes:
    return number.to_bytes(32, "big")


def origin(seconds: float = 0.0, reason: str | None = "a test") -> Origin:
    return Origin("tester@here", reason, NOON + timedelta(seconds=seconds))


def new_keys(
    ring: KeyRingLike, manager: str = "default", by: Origin | None = None
) -> SessionKeys:
    keys = SessionKeys.blank(manager)
    keys.regenerate(secret(1), ring, by or origin())
    return keys


def keys_in(log: KeyLog, manager: str = "default") -> SessionKeys:
    """The keys of a manager as its whole history gives them, blank if it has none."""
    events = list(log.key_events(manager))
    return SessionKeys.fold(events) if events else SessionKeys.blank(manager)


def history(ring: KeyRingLike, manager: str = "default", *, resets: int = 3) -> list[Any]:
    """A generated key and then resets, as events."""
    keys = new_keys(ring, manager)
    for number in range(2, 2 + resets):
        keys.reset(secret(number), ring, origin(number))
    return list(keys.collect_events())


def mark_of(event: KeyEvent) -> Mark:
    return Mark(event.originator_version, event.digest, event.signature)


def mapper() -> KeyEventMapper:
    return KeyEventMapper(JSONTranscoder())


def old_rows(name: str, manager: str = "default") -> list[StoredEvent]:
    """The rows of a manager in one of the logs in `tests/old_logs`."""
    with (OLD_LOGS / name).open("rb") as file:
        found = list(read_lines(lines_of(file), golden.NODE_ID))
    return [row for row in found if row.originator_id == manager_id(manager)]


def signed_row(ring: KeyRing, row: StoredEvent, **changes: object) -> StoredEvent:
    """A row of `golden` with other fields (... leaves one out), signed anew by the node."""
    fields = {**json.loads(row.state), **changes}
    fields = {name: value for name, value in fields.items() if value is not ...}
    id_, position = golden.MANAGER_ID, row.originator_version
    digest = chain.digest(row.topic, id_, position, fields)
    fields["signature"] = chain.sign(ring, id_, position, digest)
    return with_state(row, chain.encode_state(fields))


def with_state(row: StoredEvent, state: bytes) -> StoredEvent:
    return StoredEvent(row.originator_id, row.originator_version, row.topic, state)


# --- tokens ------------------------------------------------------------------------------------


def signing_key(number: int = 1) -> SigningKey:
    return SigningKey(SessionKey(number, key_id_of(secret(number)), secret(number)))


def key_set(*keys: SigningKey) -> KeySet:
    """Keys that are all accepted, the first of them current."""
    return KeySet(keys[0], {key.header: (key, None) for key in keys}, EndedSessions(), 0)


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
        "keyturn_pos": 0,
        "exp": int(NOW) + 60,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not ...}


def good_payload(**changes: object) -> bytes:
    return msgspec.json.encode(good_claims(**changes))
