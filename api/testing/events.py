"""What a test says of key events: those that happened before, and those that it expects.

One spelling for both: `Reset(reason="laptop stolen")`. As an expectation it fits every reset
with this reason, whoever did it: only what it names is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from msgspec import UNSET, UnsetType

from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.session_keys import Origin, SessionKeys

SOMEBODY = "somebody@somewhere"
"""The initiator of a given event that names none."""

_TIMES = ("at", "age")


@dataclass(frozen=True, repr=False, kw_only=True)
class EventSpec:
    """What `Generated`, `Reset`, `Rotated` and `Destroyed` have in common.

    Attributes:
        initiator: who did it.
        reason: why; None: nobody said.
        generation: of the key that it made current; of `Destroyed`, that it ended.
        at: when a given event happened (an aware datetime);
        age: or how many seconds ago. Neither: at the time of the next event, or now.
    """

    kind: ClassVar[str]

    initiator: str | UnsetType = UNSET
    reason: str | None | UnsetType = UNSET
    generation: int | UnsetType = UNSET
    at: datetime | None = None
    age: float | None = None

    def __repr__(self) -> str:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        named = [f"{n}={v!r}" for n, v in values if v is not (None if n in _TIMES else UNSET)]
        return f"{type(self).__name__}({', '.join(named)})"

    def time(self, now: float) -> datetime | None:
        """Return when it happened, if it says so, by a clock that says `now`."""
        if self.at is not None and (self.age is not None or self.at.tzinfo is None):
            raise ValueError(f"{self!r}: when is said by an aware datetime `at`, or by `age`")
        if self.age is None:
            return self.at
        return datetime.fromtimestamp(now, UTC) - timedelta(seconds=self.age)

    def happen(
        self, keys: SessionKeys, secret: bytes, key_ring: KeyRingLike, at: datetime
    ) -> None:
        """Make this change to keys, as a real and signed event."""
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

    def differences(self, actual: EventSpec) -> list[str]:
        """Return the names of what this spec names and the actual event has otherwise."""
        if type(self) is not type(actual):
            return ["kind"]
        return [
            field.name
            for field in fields(self)
            if field.name not in _TIMES
            and getattr(self, field.name) not in (UNSET, getattr(actual, field.name))
        ]


class Generated(EventSpec):
    """The first key, or the first after a destroy."""

    kind = "generated"


class Reset(EventSpec):
    """A new key; every earlier token is refused."""

    kind = "reset"


@dataclass(frozen=True, repr=False, kw_only=True)
class Rotated(EventSpec):
    """A new key; earlier tokens stay good for an overlap.

    Attributes:
        overlap: in whole seconds; a given event that names none has 0.
    """

    kind: ClassVar[str] = "rotated"

    overlap: int | UnsetType = UNSET


class Destroyed(EventSpec):
    """The end of all keys."""

    kind = "destroyed"


@dataclass(frozen=True, repr=False, kw_only=True)
class SessionEnded(EventSpec):
    """The end of one session.

    Attributes:
        sid: of the session; a given event must name it.
        subject: whose it was, if a token said so.
    """

    kind: ClassVar[str] = "session ended"

    sid: str | UnsetType = UNSET
    subject: str | None | UnsetType = UNSET


@dataclass(frozen=True, repr=False, kw_only=True)
class SessionsEnded(EventSpec):
    """The end of all sessions of a subject that had begun.

    Attributes:
        subject: whose; a given event must name it.
        keep: the sid of the session that goes on.
    """

    kind: ClassVar[str] = "sessions ended"

    subject: str | UnsetType = UNSET
    keep: str | None | UnsetType = UNSET


_SPECS: dict[str, type[EventSpec]] = {
    spec.kind: spec
    for spec in (Generated, Reset, Rotated, Destroyed, SessionEnded, SessionsEnded)
}


def spec_of(event: KeyEvent, *, at: datetime | None = None) -> EventSpec:
    """Return all that a test can say of an event; of its time only what is given here."""
    spec = _SPECS[event.kind]
    names = {field.name for field in fields(spec)} - set(_TIMES)
    return spec(at=at, **{name: getattr(event, name) for name in names})


def _said(spec: EventSpec, name: str) -> str:
    value = getattr(spec, name)
    if not isinstance(value, str):
        raise ValueError(f"{spec!r} cannot have happened without a {name}")
    return value


@dataclass(frozen=True)
class Raised:
    """What a test expects to be raised (a class), or what was raised (an error)."""

    error: type[Exception] | Exception

    def __repr__(self) -> str:
        if isinstance(self.error, type):
            return f"raises {self.error.__name__}"
        return f"raises {type(self.error).__name__}: {self.error}"


Outcome = EventSpec | Raised
"""One thing that comes of a message."""


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


def is_reply(expected: object) -> bool:
    """Whether what a test expects is neither an event nor an error."""
    return not isinstance(expected, type | EventSpec | Exception)


def expectation(expected: EventSpec | type[Exception]) -> Outcome:
    """Return what a test expects, if it can be expected."""
    if isinstance(expected, EventSpec):
        if (expected.at, expected.age) != (None, None):
            raise ValueError(f"{expected!r}: then() compares no times, leave out at and age")
        return expected
    if isinstance(expected, type) and issubclass(expected, Exception):
        return Raised(expected)
    raise TypeError(
        f"then() takes events, such as Reset(), and classes of errors, or one reply alone: not "
        f"{expected!r} among others"
    )


def compare(expected: Sequence[Outcome], actual: Sequence[Outcome]) -> list[str]:
    """Return no line if all fits, else all lines of a diff that a person understands.

    `-` marks what was expected and did not happen, `+` what happened and was not expected, and
    `?` says in what the two lines above it differ.
    """
    lines: list[str] = []
    differ = False
    for wanted, found in _aligned(expected, actual):
        if wanted is not None and found is not None and _fits(wanted, found):
            lines.append(f"    {found!r}")
            continue
        differ = True
        if wanted is not None:
            lines.append(f"  - {wanted!r}")
        if found is not None:
            lines.append(f"  + {found!r}")
        lines += _explained(wanted, found)
    return lines if differ else []


def _explained(expected: Outcome | None, actual: Outcome | None) -> list[str]:
    """Return in what two differ, when they are near enough for that to be news."""
    if not isinstance(expected, EventSpec) or type(expected) is not type(actual):
        return []
    assert isinstance(actual, EventSpec)
    return [
        f"  ?   {name}: expected {getattr(expected, name)!r}, was {getattr(actual, name)!r}"
        for name in expected.differences(actual)
    ]


def _fits(expected: Outcome, actual: Outcome) -> bool:
    if isinstance(expected, Raised) and isinstance(actual, Raised):
        return isinstance(expected.error, type) and isinstance(actual.error, expected.error)
    if isinstance(expected, EventSpec) and isinstance(actual, EventSpec):
        return not expected.differences(actual)
    return False


def _aligned(
    expected: Sequence[Outcome], actual: Sequence[Outcome]
) -> Iterator[tuple[Outcome | None, Outcome | None]]:
    """Yield in pairs what belongs together, and by itself what has no counterpart."""
    best = _best_scores(expected, actual)
    i = j = 0
    while i < len(expected) or j < len(actual):
        if i < len(expected) and best[i][j] == best[i + 1][j]:
            yield expected[i], None
            i += 1
        elif j < len(actual) and best[i][j] == best[i][j + 1]:
            yield None, actual[j]
            j += 1
        else:
            yield expected[i], actual[j]
            i, j = i + 1, j + 1


def _best_scores(expected: Sequence[Outcome], actual: Sequence[Outcome]) -> list[list[int]]:
    """Return how well the two can be paired, from each place of theirs on."""
    table = [[0] * (len(actual) + 1) for _ in range(len(expected) + 1)]
    for i in reversed(range(len(expected))):
        for j in reversed(range(len(actual))):
            skipping = max(table[i + 1][j], table[i][j + 1])
            paired = table[i + 1][j + 1] + _likeness(expected[i], actual[j])
            table[i][j] = max(skipping, paired)
    return table


def _likeness(expected: Outcome, actual: Outcome) -> int:
    if _fits(expected, actual):
        return 1000
    return int(type(expected) is type(actual))
