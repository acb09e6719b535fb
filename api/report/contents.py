"""What the page of an audit says, as values; the templates say how it looks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.rows import Marked, Row, row_of_mark, time_text
from keyturn.report.sections import Section, SectionBuilder, note_of
from keyturn.show import counted, held_against

_MAX_ROWS = 20_000  # of the whole page
_MIN_ROWS = 10  # of each manager, however many they are
_MAX_TIMELINES = 50
_MAX_FINDINGS = 1_000


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
    kinds: dict[str | None, list[FindingKind]] = defaultdict(list)
    for finding in report.findings:
        kinds[finding.manager].append(finding.kind)
    limit = max(_MIN_ROWS, _MAX_ROWS // max(1, len(shown)))
    sections: list[Section] = []
    marks: dict[str, Marked] = {}
    for number, name in enumerate(shown, 1):
        builder = SectionBuilder(
            f"m{number}", name, changes.get(name, ()), found[name], made_at, since
        )
        draws = len(shown) <= _MAX_TIMELINES
        sections.append(builder.section(report, kinds[name], limit, draws=draws))
        marks |= builder.marks
    others = []
    for id_, finding in found[None]:
        has_row = finding.unproven is not None
        marks[id_] = Marked(id_, finding, f"{id_}-row" if has_row else None)
        if has_row:
            others.append(row_of_mark(marks[id_]))
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
            ("Made (UTC)", time_text(made_at)),
        ),
        shown=_shown(since, names, known),
        findings=tuple(
            marks.get(f"f{number}") or Marked(f"f{number}", finding, None)
            for number, finding in enumerate(report.findings[:_MAX_FINDINGS], 1)
        ),
        findings_note=note_of(_MAX_FINDINGS, len(report.findings), "findings", "the first"),
        sections=tuple(sections),
        others=tuple(others),
        checkpoints=tuple(
            (name, str(head))
            for name, head in sorted(report.heads.items())
            if report.holds and name in shown
        ),
        made_at=made_at,
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
        parts.append(f"changes since {time_text(since)} UTC")
    if names:
        parts.append(f"{len(set(names) & set(known)):,} of {counted(len(known), 'manager')}")
    if not parts:
        return ""
    return f"Shown: {', '.join(parts)}. The verdict and the findings are of the whole record."
