"""What a row says of itself that nothing proves: for people who look into what was done.

A row that is altered or foreign is evidence too. What can be read of it is shown as text, apart
from what is genuine, and nothing acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import EVENT_CLASSES

MAX_TEXT: Final = 1_000
"""Characters that are kept of each text."""

_TEXTS = ("manager", "initiator", "recorded_by", "reason", "node_id")


@dataclass(frozen=True, slots=True)
class Unproven:
    """What a row says; each is None where the row does not say it, or not as a text or number.

    Attributes:
        kind: the name for people of its topic, or the topic itself where it is not Keyturn's.
        manager: whose history it belongs to.
        generation: of the key.
        at: when, as it stands there.
        initiator: who did it.
        recorded_by: user@host of the operating system.
        reason: why.
        node_id: the node that signed it.
    """

    kind: str | None = None
    manager: str | None = None
    generation: int | None = None
    at: str | None = None
    initiator: str | None = None
    recorded_by: str | None = None
    reason: str | None = None
    node_id: str | None = None


def said_by_row(row: Row) -> Unproven:
    """Return what a row says, whatever is wrong with it."""
    return _unproven(row.topic, _state(row.state))


def said_by_event(event: KeyEvent) -> Unproven:
    """Return what an event says that stands where it does not belong."""
    return _unproven(event.TOPIC, {**vars(event), "timestamp": event.timestamp.isoformat()})


def _state(state: object) -> Mapping[str, object]:
    if not isinstance(state, bytes | str):
        return {}
    try:
        return msgspec.json.decode(state, type=dict[str, object])
    except (ValueError, RecursionError):  # of JSON, and of UTF-8
        return {}


def _unproven(topic: object, fields: Mapping[str, object]) -> Unproven:
    known = EVENT_CLASSES.get(topic) if isinstance(topic, str) else None
    generation = fields.get("generation")
    return Unproven(
        kind=_text(topic) if known is None else known.kind,
        generation=generation if type(generation) is int else None,
        at=_text(fields.get("timestamp")),
        **{name: _text(fields.get(name)) for name in _TEXTS},
    )


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) else None
