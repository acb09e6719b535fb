"""What makes the log evidence: one encoding for each event, its digest and its signature.

An event at rest is a row: originator id, originator version, topic, and a state of JSON. The
state is canonical (RFC 8785: sorted names, no white space, whole numbers only), so that one
event has one spelling. Digest and signature cover the whole row:

    {"originator_id": hex, "originator_version": n, "state": {…}, "topic": "…"}

The signature (Ed25519) is over that without the state's member `signature`, the digest
(SHA-256) over all of it; each after a prefix that no other use of the key shares. The next
event carries the digest, so nothing can be altered, removed or moved unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent

from keyturn.domain.errors import LogDamagedError, NodeIdError
from keyturn.domain.key_ring import KeyRingLike, is_signed_by

NO_DIGEST: Final = "0" * 64
"""What stands for the digest of the event before the first."""

_SIGNATURE_PREFIX = b"keyturn event signature v1\0"
_DIGEST_PREFIX = b"keyturn event digest v1\0"

Fields = Mapping[str, object]
"""The state of an event: its named values, as JSON has them."""


def encode_state(fields: Fields) -> bytes:
    """Return the canonical encoding of an event's state."""
    return msgspec.json.encode(fields, order="sorted")


def decode_state(stored: StoredEvent) -> dict[str, object]:
    """Return the fields of a stored event.

    Raises:
        LogDamagedError: its state is not canonical JSON.
    """
    try:
        fields = msgspec.json.decode(bytes(stored.state), type=dict[str, object])
        canonical = encode_state(fields) == bytes(stored.state)
    except (ValueError, TypeError):
        canonical = False
    if not canonical:
        raise altered(stored, "its state is not canonical JSON")
    return fields


def sign(key_ring: KeyRingLike, topic: str, id_: UUID, version: int, fields: Fields) -> str:
    """Return the signature (base64url) for an event that has all its other fields."""
    return signature_text(key_ring.sign(_signed_bytes(topic, id_, version, fields)))


def digest(topic: str, id_: UUID, version: int, fields: Fields) -> str:
    """Return the digest (hex) of an event that has all its fields, the signature too."""
    return hashlib.sha256(_DIGEST_PREFIX + _row(topic, id_, version, fields)).hexdigest()


def verify(stored: StoredEvent) -> dict[str, object]:
    """Return the fields of a stored event that was signed by the node it names.

    Whether that is the expected node is for the caller to say.

    Raises:
        LogDamagedError: it was altered since it was signed.
    """
    fields = decode_state(stored)
    signature, node_id = fields.get("signature"), fields.get("node_id")
    if not isinstance(signature, str) or not isinstance(node_id, str):
        raise altered(stored, "it is not signed")
    message = _signed_bytes(stored.topic, _id(stored), stored.originator_version, fields)
    try:
        genuine = is_signed_by(node_id, signature_bytes(signature), message)
    except (NodeIdError, ValueError):
        genuine = False
    if not genuine:
        raise altered(stored, "its signature is wrong")
    return fields


def altered(stored: StoredEvent, what: str) -> LogDamagedError:
    """Return the error for an event that is not what was written."""
    position = stored.originator_version
    message = (
        f"the event at position {position} of {stored.originator_id} was altered: {what}; "
        "put back an unaltered copy of the log"
    )
    return LogDamagedError(message, position=position)


def signature_text(signature: bytes) -> str:
    """Return a signature as base64url without padding."""
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode("ascii")


def signature_bytes(text: str) -> bytes:
    """Return the signature that a text spells; raise ValueError for any other text."""
    signature = base64.urlsafe_b64decode(text + "==")
    if signature_text(signature) != text:
        raise ValueError("not the canonical spelling of a signature")
    return signature


def _id(stored: StoredEvent) -> UUID:
    id_ = stored.originator_id
    return id_ if isinstance(id_, UUID) else UUID(id_)


def _signed_bytes(topic: str, id_: UUID, version: int, fields: Fields) -> bytes:
    unsigned = {name: value for name, value in fields.items() if name != "signature"}
    return _SIGNATURE_PREFIX + _row(topic, id_, version, unsigned)


def _row(topic: str, id_: UUID, version: int, fields: Fields) -> bytes:
    row = {"originator_id": id_.hex, "originator_version": version, "state": fields}
    return encode_state({**row, "topic": topic})
