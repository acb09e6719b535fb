"""What the page of an audit says, as values; the templates say how it looks.

A row of the table is a genuine change, or what stands at its place and is none: that has an id
of its own, and never takes the place of a genuine row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.drawing import Timeline, timeline_of
from keyturn.show import change_text, counted, held_against, lifetime_text

MAX_ROWS = 20_000  # of the whole page
_MIN_ROWS = 10  # of each manager, however many they are
_MAX_TIMELINES = 50
_MAX_FINDINGS = 1_000
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


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says of one manager."""

    id: str
    name: str
    verdict: str
    state: str
    key: str
    age: str
    last: KeyChange | None
    held_against: str
    changes: int
    tiles: tuple[tuple[str, str, str], ...]
    timeline: Timeline | None
    rows: tuple[Row, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All of the page. `others` are rows that belong to no manager of this record."""

    title: str
    state: str
    lead: str
    held_against: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    shown: str
    findings: tuple[Marked, ...]
    findings_note: str
    sections: tuple[Section, ...]
    others: tuple[Row, ...]
    checkpoints: tuple[tuple[str, str], ...]
    made_at: datetime


def contents_of(
    report: AuditReport,
    changes: Mapping[str, Sequence[KeyChange]],
    made_at: datetime,
    since: datetime | None,
    names: Collection[str],
) -> Contents:
    """Return what the page says; the arguments are those of `render`."""
    against = report.held_against
    known = sorted({*changes, *report.heads, *against.anchor, *against.checkpoints})
    shown = [name for name in known if not names or name in names]
    found: dict[str | None, list[tuple[str, Finding]]] = defaultdict(list)
    for number, finding in enumerate(report.findings[:_MAX_FINDINGS], 1):
        name = finding.manager if finding.manager in known else None
        found[name].append((f"f{number}", finding))
    limit = max(_MIN_ROWS, MAX_ROWS // max(1, len(shown)))
    sections: list[Section] = []
    marks: dict[str, Marked] = {}
    for number, name in enumerate(shown, 1):
        builder = _Builder(f"m{number}", name, changes.get(name, ()), found[name], made_at, since)
        draws = len(shown) <= _MAX_TIMELINES
        sections.append(builder.section(report, limit, draws=draws))
        marks |= builder.marks
    others = []
    for id_, finding in found[None]:
        has_row = finding.unproven is not None
        marks[id_] = Marked(id_, finding, f"{id_}-row" if has_row else None)
        if has_row:
            others.append(_row_of_mark(marks[id_]))
    warnings = sum(finding.kind.is_warning for finding in report.findings)
    return Contents(
        title="The record holds" if report.holds else "The record does not hold",
        state="good" if report.holds else "bad",
        lead=_lead(report),
        held_against=_held_against(report),
        facts=(
            ("Events", f"{report.events:,}"),
            ("Managers", f"{len(known):,}"),
            ("Findings", f"{len(report.findings) - warnings:,}"),
            ("Warnings", f"{warnings:,}"),
            ("Made (UTC)", _time(made_at)),
        ),
        shown=_shown(since, names, known),
        findings=tuple(
            marks.get(f"f{number}") or Marked(f"f{number}", finding, None)
            for number, finding in enumerate(report.findings[:_MAX_FINDINGS], 1)
        ),
        findings_note=_note(_MAX_FINDINGS, len(report.findings), "findings", "the first"),
        sections=tuple(sections),
        others=tuple(others),
        checkpoints=tuple(
            (name, str(head))
            for name, head in sorted(report.heads.items())
            if report.holds and name in shown
        ),
        made_at=made_at,
    )


class _Builder:
    """Builds the section of one manager, and says which row each of its findings is about."""

    def __init__(
        self,
        id_: str,
        name: str,
        changes: Sequence[KeyChange],
        found: Sequence[tuple[str, Finding]],
        made_at: datetime,
        since: datetime | None,
    ) -> None:
        self._id = id_
        self._name = name
        self._all = sorted(changes, key=lambda change: change.position)
        self._changes = [c for c in self._all if since is None or c.at >= since]
        self._found = found
        self._made_at = made_at
        self.marks: dict[str, Marked] = {}

    def section(self, report: AuditReport, limit: int, *, draws: bool) -> Section:
        shown = self._changes[-limit:] if limit else []
        by_position, apart = self._placed({change.position for change in shown})
        rows = [self._row(change, by_position[change.position]) for change in shown]
        rows += map(_row_of_mark, apart)
        rows.sort(key=lambda row: (row.position or 0, not row.is_genuine), reverse=True)
        keys = [change for change in self._all if not change.is_of_sessions]
        last_key = keys[-1] if keys else None
        age = "" if last_key is None else lifetime_text(self._made_at - last_key.at)
        key = "none"
        if last_key is not None:
            ended = last_key.kind == "destroyed"
            key = "none: destroyed" if ended else f"generation {last_key.generation}"
        verdict, state = self._verdict(report)
        return Section(
            id=self._id,
            name=self._name,
            verdict=verdict,
            state=state,
            key=key,
            age=age,
            last=self._all[-1] if self._all else None,
            held_against=self._held_against(report),
            changes=len(self._all),
            tiles=tuple(self._tiles(keys, key, age)) if keys else (),
            timeline=self._timeline(shown, by_position) if draws else None,
            rows=tuple(rows),
            note=_note(len(shown), len(self._changes), "changes", "the newest"),
        )

    def _timeline(
        self, shown: Sequence[KeyChange], by_position: Mapping[int, Sequence[Marked]]
    ) -> Timeline | None:
        ids = {change.position: f"{self._id}-{change.position}" for change in shown}
        found = {
            position: [(mark.badge, mark.state) for mark in marks]
            for position, marks in by_position.items()
        }
        return timeline_of(self._changes, self._made_at, ids=ids, marks=found)

    def _placed(
        self, shown: Collection[int]
    ) -> tuple[Mapping[int, list[Marked]], Sequence[Marked]]:
        """Return the marks of genuine rows that are shown, and those that have their own row."""
        genuine = {change.position for change in self._all}
        by_position: dict[int, list[Marked]] = defaultdict(list)
        apart = []
        for id_, finding in self._found:
            first = finding.position
            if finding.unproven is None and first is not None and first in genuine:
                last = first if finding.last is None else finding.last
                row = f"{self._id}-{first}" if first in shown else None
                self.marks[id_] = mark = Marked(id_, finding, row)
                concerned = [first] if last == first else shown
                for position in concerned:
                    if first <= position <= last:
                        by_position[position].append(mark)
            elif finding.unproven is None and first is None:
                self.marks[id_] = Marked(id_, finding, None)
            else:
                self.marks[id_] = mark = Marked(id_, finding, f"{id_}-row")
                apart.append(mark)
        return by_position, apart

    def _row(self, change: KeyChange, marks: Sequence[Marked]) -> Row:
        if change.is_of_sessions:
            seconds, lived = 0.0, ""
        elif change.lifetime is None and change.kind != "destroyed":
            seconds, lived = (self._made_at - change.at).total_seconds(), "current"
        else:
            lifetime = self._made_at - change.at if change.lifetime is None else change.lifetime
            seconds, lived = lifetime.total_seconds(), lifetime_text(lifetime)
        return Row(
            id=f"{self._id}-{change.position}",
            position=change.position,
            place=f"{change.position}",
            kind="sessions" if change.is_of_sessions else change.kind,
            change=change_text(change),
            generation=f"{change.generation}",
            at=_time(change.at),
            by=change.initiator,
            recorded_by=change.recorded_by,
            why=change.reason or "",
            lived=lived,
            seconds=round(seconds, 3),
            digest=change.digest,
            marks=tuple(marks),
        )

    def _verdict(self, report: AuditReport) -> tuple[str, str]:
        kinds = [finding.kind for _, finding in self._found]
        bad = sum(not kind.is_warning for kind in kinds)
        if bad:
            return f"does not hold: {counted(bad, 'finding')}", "bad"
        ends = "" if self._name in report.ends_known else ", end not known"
        warnings = f", {counted(len(kinds), 'warning')}" if kinds else ""
        state = "warn" if ends or warnings else "good"
        return ("holds" if report.holds else "nothing found here") + ends + warnings, state

    def _held_against(self, report: AuditReport) -> str:
        against = report.held_against
        parts = []
        if self._name in against.anchor:
            parts.append(f"anchor at {against.anchor[self._name]}")
        points = against.checkpoints.get(self._name, ())
        if points:
            places = ", ".join(f"{position}" for position in sorted(points))
            parts.append(f"checkpoint{'s' if points[1:] else ''} at {places}")
        return "; ".join(parts) or "nothing"

    def _tiles(
        self, keys: Sequence[KeyChange], key: str, age: str
    ) -> Iterator[tuple[str, str, str]]:
        last = keys[-1]
        ended = [c.lifetime for c in keys if c.lifetime is not None and c.kind != "destroyed"]
        kinds = Counter(change.kind for change in self._all)
        yield "Current key", key[0].upper() + key[1:], f"its age: {age}"
        yield "Changes", f"{len(self._all):,}", _counts(kinds)
        yield "Last change of the key by", last.initiator, last.reason or "no reason given"
        longest = lifetime_text(max(ended)) if ended else "none yet"
        yield "Longest life", longest, "of a key that ended"


def _row_of_mark(mark: Marked) -> Row:
    """Return the row of what is no genuine event, or of none where one should be."""
    said, place = mark.finding.unproven, mark.place
    if said is None:
        return Row(
            id=mark.row or "",
            position=mark.finding.position,
            place=place,
            kind="nothing",
            change="nothing genuine",
            why=_NOTHING_THERE,
            marks=(mark,),
            is_genuine=False,
        )
    whose = f" of {said.manager}" if said.manager not in (None, mark.finding.manager) else ""
    return Row(
        id=mark.row or "",
        position=mark.finding.position,
        place=place,
        kind="unproven",
        change=f"claims: {said.kind or 'nothing readable'}{whose}",
        generation="" if said.generation is None else f"{said.generation}",
        at=_time_of_text(said.at or ""),
        by=said.initiator or "",
        recorded_by=said.recorded_by,
        why=said.reason or "",
        digest=f"node {said.node_id}" if said.node_id else "",
        marks=(mark,),
        is_genuine=False,
    )


def _held_against(report: AuditReport) -> tuple[str, ...]:
    against = report.held_against
    is_shown = against.node_id == report.node_id  # right above
    things = held_against(against, node="this node id" if is_shown else None)
    return tuple(things) or ("nothing but itself",)


def _lead(report: AuditReport) -> str:
    if not report.holds:
        return "It is not as it was signed. Do not rely on it."
    if not report.events:
        return "It is empty: no key has been made yet."
    if report.is_quick:
        return "Every event follows the one before it, up to a newest one that is signed."
    return "Every event is as it was signed, in its place, without a gap."


def _shown(since: datetime | None, names: Collection[str], known: Sequence[str]) -> str:
    parts = []
    if since is not None:
        parts.append(f"changes since {_time(since)} UTC")
    if names:
        parts.append(f"{len(set(names) & set(known)):,} of {counted(len(known), 'manager')}")
    if not parts:
        return ""
    return f"Shown: {', '.join(parts)}. The verdict and the findings are of the whole record."


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


def _time_of_text(text: str) -> str:
    """Return a time that a row claims as all times are shown, or else as it stands there."""
    try:
        moment = datetime.fromisoformat(text)
        return _time(moment.astimezone(UTC)) if moment.tzinfo else text
    except (ValueError, OverflowError):
        return text


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _note(shown: int, all_: int, things: str, which: str) -> str:
    return "" if shown >= all_ else f"Of {all_:,} {things}, {which} {shown:,} are shown."
