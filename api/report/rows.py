"""The rows of the tables, and the findings that mark them.

A row is a genuine change, or what stands at its place and is none: that has an id of its own, and
never takes the place of a genuine row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.projections.findings import Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.show import change_text, lifetime_text, time_text

_MEANINGS = {
    FindingKind.ALTERED: "What stands here is not what was signed.",
    FindingKind.MISSING: "A part of the record is gone.",
    FindingKind.REORDERED: "What was signed for one place stands in another.",
    FindingKind.FOREIGN: "It does not belong to the record of this node.",
    FindingKind.TRUNCATED: "The end of the record was cut off.",
    FindingKind.PUT_BACK: "What was removed for good is there again.",
    FindingKind.READER: "What a service reads is not what the rows say.",
    FindingKind.STORE: "The store itself is not as Keyturn made it.",
    FindingKind.ABANDONED: "A warning: this was given up when a rollback was accepted.",
    FindingKind.CLOCK: "A warning: a clock was set back. The order of events needs no clock.",
}
_NOTHING_THERE = "There is no genuine event here."


@dataclass(frozen=True, slots=True)
class Marked:
    """A finding on the page: `row` is the id of the row that it is about, if one is shown."""

    id: str
    finding: Finding
    row: str | None

    @property
    def badge(self) -> str:
        return self.finding.kind.value

    @property
    def state(self) -> str:
        return "warn" if self.finding.kind.is_warning else "bad"

    @property
    def meaning(self) -> str:
        return _MEANINGS[self.finding.kind]

    @property
    def place(self) -> str:
        first, last = self.finding.position, self.finding.last
        if first is None:
            return "not known"
        return f"{first}" if last is None else f"{first} to {last}"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table. `seconds` is for sorting; `is_genuine`: whether the node signed it."""

    id: str
    position: int | None
    place: str
    kind: str
    change: str
    generation: str = ""
    at: str = ""
    by: str = ""
    recorded_by: str | None = None
    why: str = ""
    lived: str = ""
    seconds: float = 0
    digest: str = ""
    marks: tuple[Marked, ...] = ()
    is_genuine: bool = True

    @property
    def state(self) -> str:
        return min((mark.state for mark in self.marks), default="")


def row_of_change(change: KeyChange, id_: str, marks: Sequence[Marked], made_at: datetime) -> Row:
    """Return the row of a genuine change."""
    if change.is_of_sessions:
        seconds, lived = 0.0, ""
    elif change.lifetime is None and change.kind != "destroyed":
        seconds, lived = (made_at - change.at).total_seconds(), "current"
    else:
        lifetime = made_at - change.at if change.lifetime is None else change.lifetime
        seconds, lived = lifetime.total_seconds(), lifetime_text(lifetime)
    return Row(
        id=id_,
        position=change.position,
        place=f"{change.position}",
        kind="sessions" if change.is_of_sessions else change.kind,
        change=change_text(change),
        generation=f"{change.generation}",
        at=time_text(change.at),
        by=change.initiator,
        recorded_by=change.recorded_by,
        why=change.reason or "",
        lived=lived,
        seconds=round(seconds, 3),
        digest=change.digest,
        marks=tuple(marks),
    )


def row_of_mark(mark: Marked) -> Row:
    """Return the row of what is no genuine event, or of none where one should be."""
    said = mark.finding.unproven
    row = Row(
        id=mark.row or "",
        position=mark.finding.position,
        place=mark.place,
        kind="nothing",
        change="nothing genuine",
        why=_NOTHING_THERE,
        marks=(mark,),
        is_genuine=False,
    )
    if said is None:
        return row
    whose = f" of {said.manager}" if said.manager not in (None, mark.finding.manager) else ""
    return dataclasses.replace(
        row,
        kind="unproven",
        change=f"claims: {said.kind or 'nothing readable'}{whose}",
        generation="" if said.generation is None else f"{said.generation}",
        at=_time_of_text(said.at or ""),
        by=said.initiator or "",
        recorded_by=said.recorded_by,
        why=said.reason or "",
        digest=f"node {said.node_id}" if said.node_id else "",
    )


def _time_of_text(text: str) -> str:
    """Return a time that a row claims as all times are shown, or else as it stands there."""
    try:
        moment = datetime.fromisoformat(text)
        return time_text(moment.astimezone(UTC)) if moment.tzinfo else text
    except (ValueError, OverflowError):
        return text
