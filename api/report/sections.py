"""What the page of an audit says of one manager."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.drawing import timeline_of
from keyturn.report.rows import Marked, Row, row_of_change, row_of_mark
from keyturn.show import CLOCK_WENT_BACK, counted, lifetime_text


class Section:
    """What the page says of one manager, once each finding about it was marked.

    Args:
        id_: of the section, in the page.
        name: of the manager.
        changes: the genuine ones, in their order.
        report: the verdict.
        kinds: of all findings about this manager, also those that are not shown.
        made_at: when the audit was made.
        since: show the changes from this moment on; None: all.
        limit: show this many changes at the most.
    """

    def __init__(
        self,
        id_: str,
        name: str,
        changes: Sequence[KeyChange],
        report: AuditReport,
        kinds: Sequence[FindingKind],
        made_at: datetime,
        since: datetime | None,
        limit: int,
    ) -> None:
        self.id = id_
        self.name = name
        self.changes = changes
        self._report = report
        self._kinds = kinds
        self._made_at = made_at
        self._wanted = [c for c in changes if since is None or c.at >= since]
        self._shown = self._wanted[-limit:]
        self._keys = [change for change in changes if not change.is_of_sessions]
        self._ids = {change.position: f"{id_}-{change.position}" for change in self._shown}
        self._marks: dict[int, list[Marked]] = defaultdict(list)
        self._apart: list[Marked] = []
        self._genuine = {change.position for change in changes}

    def mark(self, id_: str, finding: Finding) -> Marked:
        """Return a finding about this manager with the row that it marks, or that it gets."""
        first = finding.position
        if finding.unproven is not None or (first is not None and first not in self._genuine):
            mark = Marked(id_, finding, f"{id_}-row")
            self._apart.append(mark)
            return mark
        if first is None:
            return Marked(id_, finding, None)
        mark = Marked(id_, finding, self._ids.get(first))
        last = finding.last
        for position in [first] if last is None else self._ids:
            if first <= position <= (last or first):
                self._marks[position].append(mark)
        return mark

    @property
    def rows(self) -> list[Row]:
        """The changes and what stands beside them, the newest first."""
        rows = [
            row_of_change(
                change,
                self._ids[change.position],
                self._marks.get(change.position, ()),
                self._made_at,
            )
            for change in self._shown
        ]
        rows += map(row_of_mark, self._apart)
        return sorted(rows, key=lambda row: (row.position or 0, not row.is_genuine), reverse=True)

    @property
    def note(self) -> str:
        """What is left out of the rows."""
        return note_of(len(self._shown), len(self._wanted), "changes", "the newest")

    @property
    def has_timeline(self) -> bool:
        """Whether a key was changed, so that there is something to draw."""
        return any(not change.is_of_sessions for change in self._wanted)

    @property
    def timeline(self) -> dict[str, object]:
        """What is drawn of it."""
        return timeline_of(self._wanted, self._made_at, ids=self._ids, marks=self._marks)

    @property
    def verdict(self) -> tuple[str, str]:
        """Whether its record holds, with what is not known; and that for the style."""
        bad = sum(not kind.is_warning for kind in self._kinds)
        if bad:
            return f"does not hold: {counted(bad, 'finding')}", "bad"
        if not (self.changes or self._report.holds):
            return "nothing was read of it", "warn"
        end = "" if self.name in self._report.ends_known else ", end not known"
        warnings = f", {counted(len(self._kinds), 'warning')}" if self._kinds else ""
        text = "holds" if self._report.holds else "nothing found here"
        return text + end + warnings, "warn" if end or warnings else "good"

    @property
    def is_destroyed(self) -> bool:
        """Whether it has no key any more."""
        return bool(self._keys) and self._keys[-1].kind == "destroyed"

    @property
    def key(self) -> str:
        """The current key."""
        if not self._keys:
            return "none"
        return (
            "none: destroyed" if self.is_destroyed else f"generation {self._keys[-1].generation}"
        )

    @property
    def age(self) -> str:
        """How long the current key, or its absence, lasts already."""
        return lifetime_text(self._made_at - self._keys[-1].at) if self._keys else ""

    @property
    def held_against(self) -> str:
        """What is known of its end besides."""
        against = self._report.held_against
        parts = []
        if self.name in against.anchor:
            parts.append(f"anchor at {against.anchor[self.name]}")
        points = sorted(against.checkpoints.get(self.name, ()))
        if points:
            places = ", ".join(map(str, points))
            parts.append(f"checkpoint{'s' if points[1:] else ''} at {places}")
        return "; ".join(parts) or "nothing"

    @property
    def tiles(self) -> Iterator[tuple[str, str, str]]:
        """What matters most, each with its name and a remark."""
        if not self._keys:
            return
        last, age, key = self._keys[-1], self.age, self.key
        ended = [
            c.lifetime for c in self._keys if c.lifetime is not None and c.kind != "destroyed"
        ]
        kinds = Counter(change.kind for change in self.changes).most_common()
        yield (
            "Current key",
            key[0].upper() + key[1:],
            age if age == CLOCK_WENT_BACK else f"for {age}",
        )
        counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        yield "Changes", f"{len(self.changes):,}", counts
        yield "Last change of the key by", last.initiator, last.reason or "no reason given"
        longest = lifetime_text(max(ended)) if ended else "none yet"
        yield "Longest life", longest, "of a key that ended"


def note_of(shown: int, all_: int, things: str, which: str) -> str:
    """Return what is left out, if anything is."""
    return "" if shown >= all_ else f"Of {all_:,} {things}, {which} {shown:,} are shown."
