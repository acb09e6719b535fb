"""What the page of an audit says of one manager."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.drawing import Timeline, timeline_of
from keyturn.report.rows import Marked, Row, row_of_change, row_of_mark
from keyturn.show import CLOCK_WENT_BACK, counted, lifetime_text


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


class SectionBuilder:
    """Builds the section of one manager.

    Args:
        id_: of the section, in the page.
        name: of the manager.
        changes: the genuine ones.
        found: the findings to show, each with its id.
        made_at: when the audit was made.
        since: show the changes from this moment on; None: all.

    Attributes:
        marks: the findings with the rows that they are about, by id, once it is built.
    """

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

    def section(
        self, report: AuditReport, kinds: Sequence[FindingKind], limit: int, *, draws: bool
    ) -> Section:
        """Return the section.

        Args:
            report: the verdict.
            kinds: of all findings about this manager, also those that are not shown.
            limit: show this many changes at the most.
            draws: whether to draw a timeline.
        """
        shown = self._changes[-limit:]
        by_position, apart = self._placed({change.position for change in shown})
        rows = [
            row_of_change(
                change,
                self._row_id(change.position),
                by_position[change.position],
                self._made_at,
            )
            for change in shown
        ]
        rows += map(row_of_mark, apart)
        rows.sort(key=lambda row: (row.position or 0, not row.is_genuine), reverse=True)
        keys = [change for change in self._all if not change.is_of_sessions]
        key, age = self._current(keys)
        verdict, state = self._verdict(report, kinds)
        return Section(
            id=self._id,
            name=self._name,
            verdict=verdict,
            state=state,
            key=key,
            age="" if keys and keys[-1].kind == "destroyed" else age,
            last=self._all[-1] if self._all else None,
            held_against=self._held_against(report),
            changes=len(self._all),
            tiles=tuple(self._tiles(keys, key, age)) if keys else (),
            timeline=self._timeline(shown, by_position) if draws else None,
            rows=tuple(rows),
            note=note_of(len(shown), len(self._changes), "changes", "the newest"),
        )

    def _timeline(
        self, shown: Sequence[KeyChange], by_position: Mapping[int, Sequence[Marked]]
    ) -> Timeline | None:
        ids = {change.position: self._row_id(change.position) for change in shown}
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
                row = self._row_id(first) if first in shown else None
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

    def _row_id(self, position: int) -> str:
        return f"{self._id}-{position}"

    def _current(self, keys: Sequence[KeyChange]) -> tuple[str, str]:
        """Return the current key, and how long it, or its absence, lasts already."""
        if not keys:
            return "none", ""
        is_gone = keys[-1].kind == "destroyed"
        key = "none: destroyed" if is_gone else f"generation {keys[-1].generation}"
        return key, lifetime_text(self._made_at - keys[-1].at)

    def _verdict(self, report: AuditReport, kinds: Sequence[FindingKind]) -> tuple[str, str]:
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
        yield (
            "Current key",
            key[0].upper() + key[1:],
            age if age == CLOCK_WENT_BACK else f"for {age}",
        )
        yield "Changes", f"{len(self._all):,}", _counts(kinds)
        yield "Last change of the key by", last.initiator, last.reason or "no reason given"
        longest = lifetime_text(max(ended)) if ended else "none yet"
        yield "Longest life", longest, "of a key that ended"


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())


def note_of(shown: int, all_: int, things: str, which: str) -> str:
    """Return what is left out, if anything is."""
    return "" if shown >= all_ else f"Of {all_:,} {things}, {which} {shown:,} are shown."
