"""Key events to put in a log."""

from __future__ import annotations

import secrets

from keyturn import KeyRing, SessionKeys
from keyturn.domain.key_ring import KEY_BYTES
from keyturn.domain.session_keys import Origin


def new_keys(key_ring: KeyRing, *, resets: int = 0, manager: str = "default") -> SessionKeys:
    """Return keys with their first event pending, and so many resets."""
    keys = SessionKeys.blank(manager)
    keys.regenerate(secrets.token_bytes(KEY_BYTES), key_ring, by())
    for _ in range(resets):
        reset(keys, key_ring)
    return keys


def reset(keys: SessionKeys, key_ring: KeyRing) -> None:
    keys.reset(secrets.token_bytes(KEY_BYTES), key_ring, by())


def by(initiator: str = "a test") -> Origin:
    return Origin.now(initiator)
