"""What the page of an audit says; the templates say how it looks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from keyturn.projections.findings import AuditReport, FindingKind
from keyturn.projections.history import KeyChange
from keyturn.report.rows import Marked, Row, row_of_mark
from keyturn.report.sections import Section, note_of
from keyturn.show import counted, held_against, time_text

_MAX_ROWS = 20_000  # of the whole page
_MIN_ROWS = 10  # of each manager, however many they are
_MAX_TIMELINES = 50
_MAX_FINDINGS = 1_000


def contents_of(
    report: AuditReport,
    changes: Mapping[str, Sequence[KeyChange]],
    made_at: datetime,
    since: datetime | None,
    names: Collection[str],
) -> dict[str, object]:
    """Return what the page says, by the names in its template; the arguments are `render`'s."""
    against = report.held_against
    known = sorted({*changes, *report.heads, *against.anchor, *against.checkpoints})
    shown = [name for name in known if not names or name in names]
    kinds: dict[str | None, list[FindingKind]] = defaultdict(list)
    for finding in report.findings:
        kinds[finding.manager].append(finding.kind)
    limit = max(_MIN_ROWS, _MAX_ROWS // max(1, len(shown)))
    sections: dict[str | None, Section] = {
        name: Section(
            f"m{number}", name, changes.get(name, ()), report, kinds[name], made_at, since, limit
        )
        for number, name in enumerate(shown, 1)
    }
    findings: list[Marked] = []
    others: list[Row] = []  # that belong to no manager of this record
    for number, finding in enumerate(report.findings[:_MAX_FINDINGS], 1):
        id_, name = f"f{number}", finding.manager
        if name in sections:
            findings.append(sections[name].mark(id_, finding))
            continue
        has_row = finding.unproven is not None and name not in known
        findings.append(Marked(id_, finding, f"{id_}-row" if has_row else None))
        if has_row:
            others.append(row_of_mark(findings[-1]))
    warnings = sum(finding.kind.is_warning for finding in report.findings)
    return {
        "title": "The record holds" if report.holds else "The record does not hold",
        "state": "good" if report.holds else "bad",
        "lead": _lead(report),
        "held_against": _held_against(report),
        "facts": {
            "Events": f"{report.events:,}",
            "Managers": f"{len(known):,}",
            "Findings": f"{len(report.findings) - warnings:,}",
            "Warnings": f"{warnings:,}",
            "Made (UTC)": time_text(made_at),
        },
        "shown": _shown(since, names, known),
        "findings": findings,
        "findings_note": note_of(_MAX_FINDINGS, len(report.findings), "findings", "the first"),
        "sections": list(sections.values()),
        "has_timelines": len(shown) <= _MAX_TIMELINES,
        "others": others,
        "checkpoints": {
            name: str(head)
            for name, head in sorted(report.heads.items())
            if report.holds and name in shown
        },
        "made_at": made_at,
    }


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
