"""What makes the log evidence: one encoding for each event, its digest and its signature.

An event at rest is a row: originator id, originator version (its position), topic, and a state
of JSON. The state is canonical (RFC 8785: sorted names, no white space, whole numbers only), so
that one event has one spelling. The digest is SHA-256, after a prefix of its own, over

    {"originator_id": hex, "originator_version": n, "state": {…}, "topic": "…"}

with the state's member `signature` left out. The signature is Ed25519, after another prefix,
over the statement "at this position of this history stands this digest":

    ["originator id in hex", n, "digest in hex"]

The next event carries the digest, so nothing can be altered, removed or moved unnoticed. And
the statement with its signature stands by itself: the anchor is the newest one.
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

_DIGEST_PREFIX = b"keyturn event digest v1\0"
_STATEMENT_PREFIX = b"keyturn event at position v1\0"

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
    except (ValueError, TypeError, RecursionError):
        canonical = False
    if not canonical:
        raise altered(stored, "its state is not canonical JSON")
    return fields


def digest(topic: str, id_: UUID, position: int, fields: Fields) -> str:
    """Return the digest (hex) of an event; its signature, if it has one yet, does not count."""
    state = {name: value for name, value in fields.items() if name != "signature"}
    row = {"originator_id": id_.hex, "originator_version": position, "state": state}
    return hashlib.sha256(_DIGEST_PREFIX + encode_state({**row, "topic": topic})).hexdigest()


def sign(key_ring: KeyRingLike, id_: UUID, position: int, digest: str) -> str:
    """Return the signature (base64url) under the statement that this digest stands there."""
    signature = key_ring.sign(_statement(id_, position, digest))
    return base64.urlsafe_b64encode(signature).rstrip(b"=").decode("ascii")


def is_signed(node_id: str, id_: UUID, position: int, digest: str, signature: str) -> bool:
    """Tell whether this node signed the statement that this digest stands there."""
    try:
        raw = base64.urlsafe_b64decode(signature + "==")
        canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == signature
        return canonical and is_signed_by(node_id, raw, _statement(id_, position, digest))
    except (NodeIdError, ValueError):
        return False


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
    id_, position = _id(stored), stored.originator_version
    found = digest(stored.topic, id_, position, fields)
    if not is_signed(node_id, id_, position, found, signature):
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


def _id(stored: StoredEvent) -> UUID:
    id_ = stored.originator_id
    return id_ if isinstance(id_, UUID) else UUID(id_)


def _statement(id_: UUID, position: int, digest: str) -> bytes:
    return _STATEMENT_PREFIX + msgspec.json.encode([id_.hex, position, digest])
