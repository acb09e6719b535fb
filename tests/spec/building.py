"""What makes vectors: good and bad ones, each with a sentence that says why."""

from __future__ import annotations

from typing import Any

from keyturn.config.local_key_ring import KeyRing

RING = KeyRing(bytes(32), bytes(range(32)))
OTHER = KeyRing(bytes([1]) * 32, bytes(range(32)))
NODE = RING.node_id

COMPACT: Any = {"separators": (",", ":"), "ensure_ascii": False}
"""Arguments of `json.dumps` for compact JSON."""

Vector = dict[str, Any]


def good(why: str, **values: Any) -> Vector:
    return {"why": why, "good": True, **values}


def bad(why: str, **values: Any) -> Vector:
    return {"why": why, "good": False, **values}
