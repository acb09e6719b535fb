"""How the command line shows things: tables for people, JSON lines for programs.

What comes from a log or a user is text, never markup: it is shown with everything that could
move the cursor, or turn the direction of writing, spelled out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from keyturn.actors.replies import TokenReport
from keyturn.projections.findings import AuditReport, HeldAgainst
from keyturn.projections.history import KeyChange
from keyturn.projections.unproven import Unproven

if TYPE_CHECKING:
    from rich.console import Console

_MAX_NAMES = 5
_MAX_FINDINGS = 100
"""A file that is no export at all has one a line."""
CLOCK_WENT_BACK = "the clock went back"
"""What stands for a lifetime that would be negative."""


def plain(text: str) -> str:
    """Return the text with every character that does not print spelled out."""
    return _printable(text, lambda c: c.encode("unicode_escape").decode("ascii"))


def json_line(value: object) -> str:
    """Return a value as one line of JSON: dataclasses by field, times in ISO 8601.

    What does not print (C1 and DEL, what turns the direction of writing) is escaped.
    """
    simple = msgspec.to_builtins(value, builtin_types=(datetime, timedelta))
    line = json.dumps(simple, default=cell, ensure_ascii=False, separators=(",", ":"))
    return _printable(line, lambda c: "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1])


def _printable(text: str, spell: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else spell(c) for c in text)


def cell(value: object) -> object:
    """Return a value as JSON and CSV have it: moments as text, durations in seconds."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def console(*, record: bool = False, width: int | None = None) -> Console:
    """Return a console on standard output."""
    from rich.console import Console  # 55 ms, and programs ask for JSON

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - rich calls it while it handles the error, and would exit by itself

    return OurConsole(
        file=sys.stdout, record=record, width=width, highlight=False, soft_wrap=False
    )


def time_text(moment: datetime) -> str:
    """Return a moment in UTC, to the second, as it is shown everywhere."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def change_text(change: KeyChange) -> str:
    """Return the kind of a change, with an overlap, or whose sessions were ended."""
    if change.is_of_sessions:
        whose = change.sid if change.subject is None else change.subject
        return f"{change.kind}: {plain(whose or '')}"
    return f"{change.kind} +{change.overlap} s" if change.overlap else change.kind


def audit_text(report: AuditReport) -> str:
    """Return the verdict of an audit, a line for it and one for each of the first findings."""
    verdict = "The record holds" if report.holds else "The record does NOT hold"
    events = counted(report.events, "event")
    lines = [f"{verdict}: {events} of node {report.node_id or '(none)'}"]
    against = "; ".join(held_against(report.held_against)) or "nothing but itself"
    lines.append(f"  held against {against}")
    lines += [f"  {plain(line)}" for line in report.caveats]
    # Warnings come last, so they are left out first.
    findings = sorted(report.findings, key=lambda finding: finding.kind.is_warning)
    for finding in findings[:_MAX_FINDINGS]:
        where = "" if finding.position is None else f" at position {finding.position}"
        whose = "" if finding.manager is None else f" of {plain(finding.manager)}"
        claim = "" if finding.unproven is None else claim_text(finding.unproven)
        lines.append(f"  {finding.kind.value}{where}{whose}: {plain(finding.message)}{claim}")
    if len(findings) > _MAX_FINDINGS:
        lines.append(f"  and {len(findings) - _MAX_FINDINGS:,} more: --json shows all")
    return "\n".join(lines)


def claim_text(said: Unproven) -> str:
    """Return what a row that is not genuine says, in brackets; empty if it says nothing."""
    if said.kind is None or said.initiator is None:
        return ""
    return f" (the row claims: {plain(said.kind[:60])} by {plain(said.initiator[:60])})"


def held_against(against: HeldAgainst, *, node: str | None = None) -> Iterator[str]:
    """Yield each thing that a record was compared with, and who said it.

    Args:
        against: what it was compared with.
        node: what to call the node; None: by its id.
    """
    if against.node_id is not None:
        said = "" if against.node_id_from is None else f" (from the {against.node_id_from.value})"
        yield f"{node or f'node {against.node_id}'}{said}"
    if against.anchor:
        places = [(name, str(position)) for name, position in sorted(against.anchor.items())]
        yield f"the anchor of {counted(len(places), 'manager')}: {_places(places)}"
    if against.checkpoints:
        places = [
            (name, " and ".join(map(str, sorted(positions))))
            for name, positions in sorted(against.checkpoints.items())
        ]
        points = sum(map(len, against.checkpoints.values()))
        yield f"{counted(points, 'checkpoint')}: {_places(places)}"


def _places(places: Sequence[tuple[str, str]]) -> str:
    more = len(places) - _MAX_NAMES
    shown = ", ".join(f"{plain(name)} at {place}" for name, place in places[:_MAX_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown


def counted(count: int, what: str) -> str:
    """Return a number of things, as in "2 findings"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def audit_facts(report: AuditReport) -> dict[str, object]:
    """Return the verdict of an audit for programs."""
    return {
        "holds": report.holds,
        **dataclasses.asdict(report),
        "caveats": report.caveats,
        "ends_known": sorted(report.ends_known),
        "heads": {name: str(head) for name, head in report.heads.items() if report.holds},
        "findings": [
            {**dataclasses.asdict(finding), "is_warning": finding.kind.is_warning}
            for finding in report.findings
        ],
    }


def report_text(report: TokenReport) -> str:
    """Return what is known of a token, a fact a line; its claims stand apart, below."""
    facts = {
        "token": "good" if report.refusal is None else f"refused: {report.refusal.value}",
        "key": report.key_id,
        "generation": report.generation,
        "ended": report.revoked_at and f"{time_text(report.revoked_at)} UTC",
        "by": report.revoked_by,
        "because": report.revoked_because,
    }
    lines = [f"{name:12} {plain(str(it))}" for name, it in facts.items() if it is not None]
    if report.claims is not None:
        times = claim_times(report)
        lines.append("claims")
        for name, value in report.claims.items():
            text = value if isinstance(value, str) else json_line(value)
            when = f" ({time_text(times[name])} UTC)" if name in times else ""
            lines.append(f"  {plain(name):12} {plain(text)}{when}")
    return "\n".join(lines)


def claim_times(report: TokenReport) -> dict[str, datetime]:
    """Return the claims that are moments, which a token has in seconds since the epoch."""
    times = {}
    for name in ("iat", "nbf", "exp", "auth_time"):
        with contextlib.suppress(TypeError, ValueError, OverflowError, OSError):
            value: Any = (report.claims or {}).get(name)
            times[name] = datetime.fromtimestamp(value, UTC)
    return times


def lifetime_text(lifetime: timedelta | None) -> str:
    """Return how long a key was current, in the two units that matter; "current" if it is."""
    if lifetime is None:
        return "current"
    if lifetime < timedelta(0):
        return CLOCK_WENT_BACK
    seconds = int(lifetime.total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {seconds % 60} s"
    return f"{lifetime.total_seconds():.1f} s"
