"""The key ring as the rest of the code sees it: seal, unseal, sign, node id.

A host may bring its own (a cloud KMS, an HSM, the system's keychain). Ours, in a file, is
`keyturn.config.local_key_ring`. Here is also how a session key is sealed at rest: each for its
place in the log, and named by its fingerprint.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Protocol, runtime_checkable

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyturn.domain.errors import SealError
from keyturn.domain.node import decode_node_id
from keyturn.domain.secret import Secret

KEY_BYTES = 32

_KEY_ID_PREFIX = b"keyturn key id v1\0"


@runtime_checkable
class KeyRingLike(Protocol):
    """What Keyturn asks of a key ring. Implementations must be safe to call from any thread."""

    @property
    def node_id(self) -> str:
        """The id of the node whose key ring this is; it never changes."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt and authenticate.

        Args:
            plaintext: what to seal.
            context: what it is bound to; not secret, and not part of what is returned.

        Returns:
            What `unseal` takes.
        """

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Undo `seal`.

        Args:
            sealed: what `seal` returned.
            context: the same as then.

        Returns:
            The plaintext.

        Raises:
            SealError: it was not sealed here, or not for this context.
        """

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (RFC 8032, 64 bytes) under the key of the node id."""


def is_signed_by(node_id: str, signature: bytes, message: bytes) -> bool:
    """Tell whether this node signed this message. Needs no key ring."""
    try:
        _public_key(node_id).verify(signature, message)
    except (InvalidSignature, ValueError):  # of a node id that is none too
        return False
    return True


@lru_cache(maxsize=16)
def _public_key(node_id: str) -> Ed25519PublicKey:
    """Return the public key of a node id: an audit asks for the same one again and again."""
    return Ed25519PublicKey.from_public_bytes(decode_node_id(node_id))


def key_id_of(secret: bytes) -> str:
    """Return the public fingerprint of a session key: 96 bits, base64url."""
    fingerprint = hashlib.sha256(_KEY_ID_PREFIX + secret).digest()[:12]
    return base64.urlsafe_b64encode(fingerprint).decode("ascii")


def seal_key(
    key_ring: KeyRingLike, secret: Secret[bytes], manager: str, generation: int, key_id: str
) -> str:
    """Return a secret as an event keeps it: sealed for this place, and no other."""
    sealed = key_ring.seal(secret.reveal(), _seal_context(manager, generation, key_id))
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
    secret = Secret(key_ring.unseal(sealed, _seal_context(manager, generation, key_id)))
    if len(secret.reveal()) != KEY_BYTES or key_id_of(secret.reveal()) != key_id:
        raise SealError("a sealed key is not the one that its key id names")
    return secret.reveal()


def _seal_context(manager: str, generation: int, key_id: str) -> bytes:
    return msgspec.json.encode(["keyturn sealed key v1", manager, generation, key_id])
