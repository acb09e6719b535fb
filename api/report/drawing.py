"""The timeline of a manager as the page draws it: generations, their facts, ends of sessions."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from keyturn.projections.history import KeyChange
from keyturn.report.rows import Marked
from keyturn.report.timeline import Segment, place_of, segments_of, ticks_of
from keyturn.show import change_text, counted, lifetime_text, time_text

KINDS = ("generated", "reset", "rotated", "destroyed")
_DIGIT_WIDTH = 0.9  # of the number of a generation, in percent
_LONG_TEXT = 240
_TOLD = 3  # resets of many that are told one by one
_STEP = 0.5  # percents between two marks of ended sessions


def timeline_of(
    changes: Sequence[KeyChange],
    made_at: datetime,
    *,
    ids: Mapping[int, str],
    marks: Mapping[int, Sequence[Marked]],
) -> dict[str, object]:
    """Return the timeline of a manager of whom a key was changed, by the names in the template.

    Args:
        changes: of the manager, in their order.
        made_at: the end of the timeline.
        ids: the id of the row of each position that is shown.
        marks: the findings, by position.
    """
    keys = [change for change in changes if not change.is_of_sessions]
    segments = segments_of(keys, made_at)
    ends = [change for change in changes if change.is_of_sessions]
    note = "Drawn to scale; what was too short to be seen is widened."
    if any(len(segment.changes) > 1 for segment in segments):
        note += (
            f" {len(keys):,} changes are more than fit: short neighbours are merged, and drawn"
            " in grey; a reset among them keeps its mark."
        )
    return {
        "bars": [_bar(segment, ids, marks) for segment in segments],
        "ticks": list(ticks_of(segments, made_at)),
        "kinds": [kind for kind in KINDS if any(change.kind == kind for change in keys)],
        "ends": list(_places(ends, segments)),
        "ends_text": f"{counted(len(ends), 'end')} of sessions",
        "note": note,
    }


def _bar(
    segment: Segment, ids: Mapping[int, str], marks: Mapping[int, Sequence[Marked]]
) -> dict[str, object]:
    """Return one piece of the timeline; places and widths are percents of it."""
    first, loud = segment.changes[0], segment.loud
    is_alone = len(segment.changes) == 1
    found = [mark for change in segment.changes for mark in marks.get(change.position, ())]
    facts = _facts_of_one(first, segment) if is_alone else _facts_of_many(segment)
    if found:
        facts["finding"] = ", ".join(sorted({mark.badge for mark in found}))
    number = str(first.generation)
    fits = segment.width >= 1.4 + _DIGIT_WIDTH * len(number)
    shown = [change.position for change in (*loud[-1:], *segment.changes)]
    left, center = round(segment.left, 3), round(segment.left + segment.width / 2, 3)
    return {
        "kind": first.kind if is_alone else "merged",
        "mark": first.kind if is_alone else loud[-1].kind if loud else None,
        "mark_at": left if is_alone else center,
        "left": left,
        "center": center,
        "width": round(segment.width, 3),
        "row": next((ids[position] for position in shown if position in ids), None),
        "state": min((mark.state for mark in found), default=""),
        "number": number if is_alone and fits and first.kind != "destroyed" else "",
        "facts": {name: _clipped(value) for name, value in facts.items()},
    }


def _facts_of_one(change: KeyChange, segment: Segment) -> dict[str, str]:
    is_end = change.kind == "destroyed"
    lived = change.lifetime
    if lived is None or is_end:
        lived = timedelta(seconds=segment.seconds)
    facts = {
        "generation": f"{change.generation}" + (", the last" if is_end else ""),
        "change": change_text(change),
        "when": f"{time_text(change.at)} UTC",
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
        "from": f"{time_text(changes[0].at)} UTC",
        "to": f"{time_text(changes[-1].at)} UTC",
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


def _clipped(text: str) -> str:
    return text if len(text) <= _LONG_TEXT else text[:_LONG_TEXT] + "…"
