"""The history of key changes, as people read it: one row a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import SessionKeys


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One change of the keys of a manager.

    Attributes:
        position: its place in the history of this manager, from 1 on, without gaps.
        kind: generated, reset, rotated or destroyed.
        generation: of the key that this change made current; of `destroyed`, that it ended.
        key_id: the public fingerprint of that key.
        at: when, in UTC.
        initiator: who did it.
        reason: why, if somebody said so.
        node_id: the node whose key ring signed the event.
        digest: the SHA-256 of the event, in hex.
        lifetime: how long that generation was current; None while it is.
    """

    position: int
    kind: str
    generation: int
    key_id: str
    at: datetime
    initiator: str
    reason: str | None
    node_id: str
    digest: str
    lifetime: timedelta | None


class RotationHistory:
    """The changes of one manager's keys, read from the log page by page. Needs no password."""

    def __init__(self, log: KeyLog, manager: str = "default") -> None:
        self._log = log
        self._manager = manager

    def __iter__(self) -> Iterator[KeyChange]:
        return self.changes()

    def changes(self, *, newest_first: bool = False) -> Iterator[KeyChange]:
        """Yield the changes, oldest first unless told otherwise."""
        events = self._log.key_events(self._manager, newest_first=newest_first)
        for before, event, behind in _with_neighbours(events):
            earlier, later = (behind, before) if newest_first else (before, behind)
            yield _row(event, earlier, later)

    def of_key(self, key_id: str) -> tuple[SessionKeys.Event, SessionKeys.Event | None] | None:
        """Return the event that made this key current, and the next one, if it ever was."""
        later: SessionKeys.Event | None = None
        for event in self._log.key_events(self._manager, newest_first=True):
            if event.key_id == key_id and event.kind != "destroyed":
                return event, later
            later = event
        return None


def _row(
    event: SessionKeys.Event, earlier: SessionKeys.Event | None, later: SessionKeys.Event | None
) -> KeyChange:
    if event.kind == "destroyed":
        lifetime = None if earlier is None else event.timestamp - earlier.timestamp
    else:
        lifetime = None if later is None else later.timestamp - event.timestamp
    return KeyChange(
        position=event.originator_version,
        kind=event.kind,
        generation=event.generation,
        key_id=event.key_id,
        at=event.timestamp,
        initiator=event.initiator,
        reason=event.reason,
        node_id=event.node_id,
        digest=event.digest,
        lifetime=lifetime,
    )


def _with_neighbours(
    events: Iterator[SessionKeys.Event],
) -> Iterator[tuple[SessionKeys.Event | None, SessionKeys.Event, SessionKeys.Event | None]]:
    before: SessionKeys.Event | None = None
    event = next(events, None)
    while event is not None:
        behind = next(events, None)
        yield before, event, behind
        before, event = event, behind
