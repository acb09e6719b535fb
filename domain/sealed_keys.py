"""Session keys at rest: each sealed for its place in the log, and named by its fingerprint."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from keyturn.domain.errors import SealError
from keyturn.domain.key_ring import KeyRingLike

KEY_BYTES = 32

_KEY_ID_PREFIX = b"keyturn key id v1\0"


def key_id_of(secret: bytes) -> str:
    """Return the public fingerprint of a session key: 96 bits, base64url."""
    fingerprint = hashlib.sha256(_KEY_ID_PREFIX + secret).digest()[:12]
    return base64.urlsafe_b64encode(fingerprint).decode("ascii")


def seal_key(
    key_ring: KeyRingLike, secret: bytes, manager: str, generation: int, key_id: str
) -> str:
    """Return a secret as an event keeps it: sealed for this place, and no other."""
    sealed = key_ring.seal(secret, _seal_context(manager, generation, key_id))
    return base64.urlsafe_b64encode(sealed).decode("ascii")


def unseal_key(
    key_ring: KeyRingLike, sealed_key: str, manager: str, generation: int, key_id: str
) -> bytes:
    """Return the secret that an event keeps sealed.

    Raises:
        SealError: it was not sealed by this key ring for this place.
    """
    try:
        sealed = base64.urlsafe_b64decode(sealed_key)
    except ValueError as error:
        raise SealError("a sealed key is not base64url: it was altered") from error
    secret = key_ring.unseal(sealed, _seal_context(manager, generation, key_id))
    if len(secret) != KEY_BYTES or key_id_of(secret) != key_id:
        raise SealError("a sealed key is not the one that its key id names")
    return secret


def _seal_context(manager: str, generation: int, key_id: str) -> bytes:
    return msgspec.json.encode(["keyturn sealed key v1", manager, generation, key_id])
