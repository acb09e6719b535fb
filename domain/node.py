"""Node ids: the public key of a node, as text that a person can pass on.

A node id is the Ed25519 public key in multibase base32hex: `v`, then 52 characters, lower
case, no padding (multibase's code `v`; RFC 4648 section 7).
"""

from __future__ import annotations

import base64
import binascii

from keyturn.domain.errors import NodeIdError

_PREFIX = "v"
_KEY_BYTES = 32
_LENGTH = 53


def encode_node_id(public_key: bytes) -> str:
    """Return the node id of a raw Ed25519 public key of 32 bytes.

    Raises:
        NodeIdError: the key does not have 32 bytes.
    """
    if len(public_key) != _KEY_BYTES:
        raise NodeIdError(
            f"a node's public key has {_KEY_BYTES} bytes, this one has {len(public_key)}"
        )
    return _PREFIX + base64.b32hexencode(public_key).decode("ascii").rstrip("=").lower()


def decode_node_id(node_id: str) -> bytes:
    """Return the raw public key of a node id: the inverse of `encode_node_id`.

    Raises:
        NodeIdError: the text is not the one spelling of a node id.
    """
    if not isinstance(node_id, str):
        raise NodeIdError(f"a node id is text, not {type(node_id).__name__}")
    if len(node_id) != _LENGTH or not node_id.startswith(_PREFIX):
        raise NodeIdError(f"a node id is 'v' and 52 characters, this text has {len(node_id)}")
    try:
        public_key = base64.b32hexdecode(node_id[1:].upper().encode("ascii") + b"====")
    except (binascii.Error, UnicodeEncodeError) as error:
        raise NodeIdError("a node id uses the characters 0-9 and a-v only") from error
    if encode_node_id(public_key) != node_id:  # upper case, or stray bits at the end
        raise NodeIdError("this is not the canonical spelling of a node id")
    return public_key
