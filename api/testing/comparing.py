"""What a test expects of an action, what came of it, and the difference as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import UNSET, structs

from keyturn.testing.events import TIMES, EventSpec


@dataclass(frozen=True)
class Dated:
    """An event and its time. An expected one without a time fits any."""

    spec: EventSpec
    at: datetime | None

    def __repr__(self) -> str:
        return repr(self.spec)


@dataclass(frozen=True)
class Raised:
    """What a test expects to be raised (a class), or what was raised (an error)."""

    error: type[Exception] | Exception

    def __repr__(self) -> str:
        if isinstance(self.error, type):
            return f"raises {self.error.__name__}"
        return f"raises {type(self.error).__name__}: {self.error}"


Outcome = Dated | Raised
"""One thing that comes of an action."""


def is_reply(expected: object) -> bool:
    """Whether what a test expects is neither an event nor an error."""
    return not isinstance(expected, type | EventSpec | Exception)


def expectation(expected: object, *, own: str, now: float) -> Outcome:
    """Return what a test expects, if it can be expected.

    Args:
        expected: an event, or a class of errors.
        own: the manager under test.
        now: seconds since the epoch.
    """
    if isinstance(expected, EventSpec):
        spec = expected if expected.manager != own else structs.replace(expected, manager=UNSET)
        return Dated(spec, expected.time(now))
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
        differences = wanted and found and _differences(wanted, found)
        if differences == []:
            lines.append(f"    {found!r}")
            continue
        differ = True
        if wanted is not None:
            lines.append(f"  - {wanted!r}")
        if found is not None:
            lines.append(f"  + {found!r}")
        lines += differences or []
    return lines if differ else []


def _differences(expected: Outcome, actual: Outcome) -> list[str] | None:
    """Return a line for each thing in which two of a kind differ; None: they are of two kinds."""
    if isinstance(expected, Raised) or isinstance(actual, Raised):
        return [] if _is_raised(expected, actual) else None
    if type(expected.spec) is not type(actual.spec):
        return None
    return [
        f"  ?   {name}: expected {wanted}, was {found}"
        for name, wanted, found in _differing_fields(expected, actual)
    ]


def _is_raised(expected: Outcome, actual: Outcome) -> bool:
    return (
        isinstance(expected, Raised)
        and isinstance(actual, Raised)
        and isinstance(expected.error, type)
        and isinstance(actual.error, expected.error)
    )


def _differing_fields(expected: Dated, actual: Dated) -> Iterator[tuple[str, str, str]]:
    """Yield what the expected event names and the actual one has otherwise."""
    if expected.spec.manager != actual.spec.manager:
        yield "manager", _manager(expected), _manager(actual)
    for name in expected.spec.__struct_fields__:
        if name == "manager" or name in TIMES:
            continue
        wanted, found = getattr(expected.spec, name), getattr(actual.spec, name)
        if wanted not in (UNSET, found):
            yield name, repr(wanted), repr(found)
    if expected.at is not None and actual.at is not None and expected.at != actual.at:
        yield "at", _moment(expected.at), _moment(actual.at)


def _manager(event: Dated) -> str:
    manager = event.spec.manager
    return "the one under test" if manager is UNSET else repr(manager)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(sep=" ")


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
    differences = _differences(expected, actual)
    if differences is None:
        return 0
    return 1 if differences else 1000
