"""What a test says of key events: those that happened before, and those that it expects.

One spelling for both: `Reset(reason="laptop stolen")`. As an expectation it fits every reset
with this reason, whoever did it: only what it names is compared. An event that names no manager
is one of the manager under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from keyturn.actors.messages import Message
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.secret import Secret
from keyturn.domain.session_keys import Origin, SessionKeys

SOMEBODY = "somebody@somewhere"
"""The initiator of a given event that names none."""

TIMES = ("at", "age")


class EventSpec(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What `Generated`, `Reset`, `Rotated` and `Destroyed` have in common.

    Attributes:
        manager: whose keys these are; not named: the keys of the manager under test.
        initiator: who did it.
        reason: why; None: nobody said.
        generation: of the key that it made current; of `Destroyed`, that it ended.
        at: when it happened (an aware datetime);
        age: or how many seconds ago. Neither: given, at the time of the next event, or now;
            expected, at any time.
    """

    kind: ClassVar[str]

    manager: str | UnsetType = UNSET
    initiator: str | UnsetType = UNSET
    reason: str | None | UnsetType = UNSET
    generation: int | UnsetType = UNSET
    at: datetime | None = None
    age: float | None = None

    def time(self, now: float) -> datetime | None:
        """Return when it happened, if it says so, by a clock that says `now`."""
        if self.at is not None and (self.age is not None or self.at.tzinfo is None):
            raise ValueError(f"{self!r}: when is said by an aware datetime `at`, or by `age`")
        if self.age is None:
            return self.at
        return datetime.fromtimestamp(now, UTC) - timedelta(seconds=self.age)

    def happen(
        self, keys: SessionKeys, secret: Secret[bytes], key_ring: KeyRingLike, at: datetime
    ) -> None:
        """Make this change to keys, as a real and signed event.

        Args:
            keys: the keys.
            secret: the new key, where the event makes one.
            key_ring: seals and signs.
            at: when it happens.
        """
        initiator = SOMEBODY if self.initiator is UNSET else self.initiator
        reason = None if self.reason is UNSET else self.reason
        by = Origin(initiator, reason, at)
        match self:
            case Generated():
                keys.regenerate(secret, key_ring, by)
            case Reset():
                keys.reset(secret, key_ring, by)
            case Rotated():
                overlap = 0 if self.overlap is UNSET else self.overlap
                keys.rotate(secret, key_ring, by, overlap=overlap)
            case Destroyed():
                keys.destroy(key_ring, by)
            case SessionEnded():
                subject = None if self.subject is UNSET else self.subject
                keys.end_session(_said(self, "sid"), key_ring, by, subject=subject)
            case SessionsEnded():
                keep = None if self.keep is UNSET else self.keep
                keys.end_sessions(_said(self, "subject"), key_ring, by, keep=keep)
        if self.generation not in (UNSET, keys.generation):
            raise ValueError(f"{self!r} cannot happen here: generation {keys.generation} is next")


class Generated(EventSpec, frozen=True):
    """The first key, or the first after a destroy."""

    kind = "generated"


class Reset(EventSpec, frozen=True):
    """A new key; every earlier token is refused."""

    kind = "reset"


class Rotated(EventSpec, frozen=True, kw_only=True):
    """A new key; earlier tokens stay good for an overlap.

    Attributes:
        overlap: in whole seconds; a given event that names none has 0.
    """

    kind = "rotated"

    overlap: int | UnsetType = UNSET


class Destroyed(EventSpec, frozen=True):
    """The end of all keys."""

    kind = "destroyed"


class SessionEnded(EventSpec, frozen=True, kw_only=True):
    """The end of one session.

    Attributes:
        sid: of the session; a given event must name it.
        subject: whose it was, if a token said so.
    """

    kind = "session ended"

    sid: str | UnsetType = UNSET
    subject: str | None | UnsetType = UNSET


class SessionsEnded(EventSpec, frozen=True, kw_only=True):
    """The end of all sessions of a subject that had begun.

    Attributes:
        subject: whose; a given event must name it.
        keep: the sid of the session that goes on.
    """

    kind = "sessions ended"

    subject: str | UnsetType = UNSET
    keep: str | None | UnsetType = UNSET


_SPECS: dict[str, type[EventSpec]] = {
    spec.kind: spec
    for spec in (Generated, Reset, Rotated, Destroyed, SessionEnded, SessionsEnded)
}


def spec_of(event: KeyEvent, *, own: str) -> EventSpec:
    """Return all that a test can say of an event, but for its time.

    Args:
        event: what happened.
        own: the manager under test, whose events need not name it.
    """
    spec = _SPECS[event.kind]
    names = set(spec.__struct_fields__) - set(TIMES)
    values = {name: getattr(event, name) for name in names}
    if event.manager == own:
        del values["manager"]
    return spec(**values)


def check_events(events: Sequence[object]) -> None:
    """Raise `TypeError` if one of them is no event that can be given."""
    for event in events:
        if isinstance(event, EventSpec):
            continue
        kind = event if isinstance(event, type) else type(event)
        what = f"{event!r:.200} is none"
        if issubclass(kind, Message):
            what = f"{kind.__name__} is a message, which when() sends"
        elif issubclass(kind, EventSpec):
            what = f"{kind.__name__} is a class of them: write {kind.__name__}()"
        raise TypeError(f"what happened is said by events, such as Reset(): {what}")


def _said(spec: EventSpec, name: str) -> str:
    value = getattr(spec, name)
    if not isinstance(value, str):
        raise ValueError(f"{spec!r} cannot have happened without a {name}")
    return value


def with_times(
    specs: Sequence[EventSpec], now: float, *, after: datetime | None
) -> list[tuple[EventSpec, datetime]]:
    """Give those that say no time the time of the next one that does, or now.

    Now is not before what happened last (`after`), or else the history would go back in time.
    """
    timed: list[tuple[EventSpec, datetime]] = []
    later = datetime.fromtimestamp(now, UTC)
    if after is not None:
        later = max(later, after)
    for spec in reversed(specs):
        later = spec.time(now) or later
        timed.append((spec, later))
    return timed[::-1]
