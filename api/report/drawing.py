"""The timeline of a manager as the page draws it: generations, their facts, ends of sessions."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from keyturn.projections.history import KeyChange
from keyturn.report.timeline import Segment, place_of, segments_of, ticks_of
from keyturn.show import change_text, counted, lifetime_text

KINDS = ("generated", "reset", "rotated", "destroyed")
_DIGIT_WIDTH = 0.9  # of the number of a generation, in percent
_LONG_TEXT = 240
_TOLD = 3  # resets of many that are told one by one
_STEP = 0.5  # percents between two marks of ended sessions


@dataclass(frozen=True, slots=True)
class Bar:
    """One piece of the timeline; places and widths are percents of it.

    Attributes:
        kind: of the change, or `merged`.
        mark: the kind whose mark stands above; None: none.
        row: the id of the row that it leads to, if that is shown.
        state: bad or warn, if there is a finding; else empty.
        number: of the generation, where it fits; else empty.
        facts: names and values, for people.
    """

    kind: str
    mark: str | None
    left: float
    width: float
    row: str | None
    state: str
    number: str
    facts: tuple[tuple[str, str], ...]

    @property
    def center(self) -> float:
        return round(self.left + self.width / 2, 3)

    @property
    def mark_at(self) -> float:
        return self.left if self.kind != "merged" else self.center


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the page draws of one manager. `ends` are places of ends of sessions."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str, str], ...]
    kinds: tuple[str, ...]
    ends: tuple[float, ...]
    ends_text: str
    note: str


def timeline_of(
    changes: Sequence[KeyChange],
    made_at: datetime,
    *,
    ids: Mapping[int, str],
    marks: Mapping[int, Sequence[tuple[str, str]]],
) -> Timeline | None:
    """Return the timeline of a manager; None if no key was changed.

    Args:
        changes: of the manager, in their order.
        made_at: the end of the timeline.
        ids: the id of the row of each position that is shown.
        marks: the kind and the state of each finding, by position.
    """
    keys = [change for change in changes if not change.is_of_sessions]
    if not keys:
        return None
    segments = segments_of(keys, made_at)
    ends = [change for change in changes if change.is_of_sessions]
    note = "Drawn to scale; what was too short to be seen is widened."
    if any(len(segment.changes) > 1 for segment in segments):
        note += (
            f" {len(keys):,} changes are more than fit: short neighbours are merged, and drawn"
            " in grey; a reset among them keeps its mark."
        )
    return Timeline(
        bars=tuple(_bar(segment, ids, marks) for segment in segments),
        ticks=tuple(ticks_of(segments, made_at)),
        kinds=tuple(kind for kind in KINDS if any(change.kind == kind for change in keys)),
        ends=tuple(_places(ends, segments)),
        ends_text=f"{counted(len(ends), 'end')} of sessions" if ends else "",
        note=note,
    )


def _bar(
    segment: Segment, ids: Mapping[int, str], marks: Mapping[int, Sequence[tuple[str, str]]]
) -> Bar:
    first = segment.changes[0]
    is_alone = len(segment.changes) == 1
    found = [mark for change in segment.changes for mark in marks.get(change.position, ())]
    facts = _facts_of_one(first, segment) if is_alone else _facts_of_many(segment)
    if found:
        facts["finding"] = ", ".join(sorted({kind for kind, _ in found}))
    loud = segment.loud
    number = str(first.generation)
    fits = segment.width >= 1.4 + _DIGIT_WIDTH * len(number)
    shown = [change.position for change in (*loud[-1:], *segment.changes)]
    return Bar(
        kind=first.kind if is_alone else "merged",
        mark=first.kind if is_alone else loud[-1].kind if loud else None,
        left=round(segment.left, 3),
        width=round(segment.width, 3),
        row=next((ids[position] for position in shown if position in ids), None),
        state=min((state for _, state in found), default=""),
        number=number if is_alone and fits and first.kind != "destroyed" else "",
        facts=tuple((name, _clipped(value)) for name, value in facts.items()),
    )


def _facts_of_one(change: KeyChange, segment: Segment) -> dict[str, str]:
    is_end = change.kind == "destroyed"
    lived = change.lifetime
    if lived is None or is_end:
        lived = timedelta(seconds=segment.seconds)
    facts = {
        "generation": f"{change.generation}" + (", the last" if is_end else ""),
        "change": change_text(change),
        "when": _when(change),
        "by": change.initiator,
        "recorded by": change.recorded_by or "not known",
        "why": change.reason or "no reason given",
        "no key since" if is_end else "lived": lifetime_text(lived),
    }
    if change.lifetime is None and not is_end:
        facts["and"] = "is current"
    return facts


def _facts_of_many(segment: Segment) -> dict[str, str]:
    changes = segment.changes
    people = Counter(change.initiator for change in changes).most_common()
    names = [name[:60] for name, _ in people[:3]]
    kinds = Counter(change.kind for change in changes).most_common()
    facts = {
        "generations": f"{changes[0].generation} to {changes[-1].generation}",
        "changes": f"{len(changes):,}: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds),
        "from": _when(changes[0]),
        "to": _when(changes[-1]),
        "by": ", ".join(names) + (f" and {len(people) - 3} more" if people[3:] else ""),
        "lived": lifetime_text(timedelta(seconds=segment.seconds)) + " together",
    }
    for change in segment.loud[: -_TOLD - 1 : -1]:
        why = (change.reason or "no reason given")[:80]
        facts[f"{change.kind} {change.generation}"] = f"{change.initiator[:60]}: {why}"
    if len(segment.loud) > _TOLD:
        facts["and"] = f"{len(segment.loud) - _TOLD:,} more resets before"
    return facts


def _places(ends: Sequence[KeyChange], segments: Sequence[Segment]) -> Iterator[float]:
    """Yield where sessions were ended, those that would touch each other once."""
    starts = [segment.changes[0].position for segment in segments]
    before = -_STEP
    for change in ends:
        segment = segments[max(0, bisect_right(starts, change.position) - 1)]
        place = place_of(change.at, segment)
        if abs(place - before) >= _STEP:
            yield place
            before = place


def _when(change: KeyChange) -> str:
    return f"{change.at:%Y-%m-%d %H:%M:%S} UTC"


def _clipped(text: str) -> str:
    return text if len(text) <= _LONG_TEXT else text[:_LONG_TEXT] + "…"
