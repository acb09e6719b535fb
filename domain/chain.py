"""The chain rule: what makes the log evidence. Written here once, for all who read a log.

An event at rest is a row: originator id, originator version (its position), topic, and a state
of JSON. The state is canonical (RFC 8785: sorted names, no white space, whole numbers only), so
that one event has one spelling. The digest is SHA-256, after a prefix of its own, over

    {"originator_id": hex, "originator_version": n, "state": {…}, "topic": "…"}

with the state's member `signature` left out: it is a digest of what is stored, whatever a later
version of this software makes of it. The signature is Ed25519, after another prefix, over the
statement "at this position of this stream stands this digest":

    ["originator id in hex", n, "digest in hex"]

Each event carries the digest of the one before it. So a signed event vouches for all that come
before it, and the statement with its signature stands by itself: an anchor or a checkpoint is
the newest one.
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent

from keyturn.domain.errors import LogDamagedError
from keyturn.domain.key_ring import KeyRingLike, is_signed_by

if TYPE_CHECKING:
    from keyturn.domain.key_events import KeyEvent

NO_DIGEST: Final = "0" * 64
"""What stands for the digest of the event before the first."""

_DIGEST_PREFIX = b"keyturn event digest v1\0"
_STATEMENT_PREFIX = b"keyturn event at position v1\0"


def _plain(value: object) -> str:
    """Return a time as datetime's own is encoded: freezegun's are of a class of its own."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"a {type(value).__name__} is no part of an event")


_encode = msgspec.json.Encoder(order="sorted", enc_hook=_plain).encode
_decode = msgspec.json.Decoder(dict[str, object]).decode

Fields = Mapping[str, object]
"""The state of an event: its named values, as JSON has them."""


class Link(NamedTuple):
    """The end of a chain: what the next event must follow."""

    position: int
    digest: str
    generation: int


START: Final = Link(0, NO_DIGEST, 0)
"""Before the first event."""


class Break(enum.Enum):
    """In what an event does not follow the one before it."""

    POSITION = "events before it are missing, or are out of order"
    DIGEST = "it does not follow the event before it: one of them was replaced"
    GENERATION = "its generation does not follow that of the event before it"
    PURGE = "it says that all events before it were removed, and there are some"


def break_between(end: Link, event: KeyEvent) -> Break | None:
    """Return in what an event does not follow the end of a chain, None if it does.

    A purge says, signed, that the events before it were removed: it begins a stream, wherever.
    """
    if event.is_purge:
        return None if end == START else Break.PURGE
    if event.originator_version != end.position + 1:
        return Break.POSITION
    if event.previous_digest != end.digest:
        return Break.DIGEST
    if event.generation != end.generation + event.makes_a_key:
        return Break.GENERATION
    return None


def encode_state(fields: Fields) -> bytes:
    """Return the canonical encoding of an event's state."""
    return _encode(fields)


def decode_state(stored: StoredEvent) -> dict[str, object]:
    """Return the fields of a stored event.

    Raises:
        LogDamagedError: its state is not canonical JSON.
    """
    try:
        fields = _decode(stored.state)
        canonical = _encode(fields) == stored.state
    except (ValueError, TypeError, RecursionError):
        canonical = False
    if not canonical:
        raise altered(stored, "its state is not canonical JSON")
    return fields


def digest(topic: str, id_: UUID, position: int, fields: Fields) -> str:
    """Return the digest (hex) of an event; its signature, if it has one yet, does not count."""
    state = dict(fields)
    state.pop("signature", None)
    row = {
        "originator_id": id_.hex,
        "originator_version": position,
        "state": state,
        "topic": topic,
    }
    return hashlib.sha256(_DIGEST_PREFIX + _encode(row)).hexdigest()


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
    except ValueError:
        return False


def altered(stored: StoredEvent | KeyEvent, what: str) -> LogDamagedError:
    """Return the error for a row that is not what was written; its values may be of any type."""
    position: object = stored.originator_version
    message = (
        f"the event at position {position!r:.40} of {stored.originator_id!s:.40} was altered: "
        f"{what}; put back an unaltered copy of the log"
    )
    known = position if isinstance(position, int) else None
    return LogDamagedError(message, position=known, what=what)


def _statement(id_: UUID, position: int, digest: str) -> bytes:
    return _STATEMENT_PREFIX + msgspec.json.encode([id_.hex, position, digest])
