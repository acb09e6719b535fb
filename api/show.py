"""How the command line shows things: tables for people, JSON lines for programs.

What comes from a log or a user is text, never markup: it is shown with everything that could
move the cursor, or turn the direction of writing, spelled out.
"""

from __future__ import annotations

import csv
import dataclasses
import enum
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from keyturn.actors.replies import TokenReport
from keyturn.domain.checkpoint import Checkpoint
from keyturn.projections.findings import AuditReport
from keyturn.projections.history import KeyChange

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_BAR_WIDTH = 12
_WIDTH_FOR_BARS = 100
_MAX_NAMES = 5
_KIND_STYLES = {"generated": "green", "reset": "yellow", "rotated": "cyan", "destroyed": "red"}


def plain(text: str) -> str:
    """Return the text with every character that does not print spelled out."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def json_line(value: object) -> str:
    """Return a value as one line of JSON: dataclasses by field, times in ISO 8601."""
    return msgspec.json.encode(_jsonable(value)).decode("utf-8")


def console(*, record: bool = False, width: int | None = None) -> Console:
    """Return a console on standard output."""
    from rich.console import Console  # 55 ms, and programs ask for JSON

    return Console(file=sys.stdout, record=record, width=width, highlight=False, soft_wrap=False)


def history_table(changes: Sequence[KeyChange], width: int) -> Table:
    """Return the history of key changes as a table for people.

    Where there is the width for it (in characters), lifetimes are drawn to scale too.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("change", no_wrap=True)
    table.add_column("key", justify="right")
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("by", overflow="fold")
    table.add_column("why", overflow="fold")
    table.add_column("lived", justify="right", no_wrap=True)
    has_bars = width >= _WIDTH_FOR_BARS
    if has_bars:
        table.add_column("", no_wrap=True, style="blue")
    longest = max((_seconds(change) for change in changes), default=0.0)
    for change in changes:
        table.add_row(
            str(change.position),
            Text(change_text(change), _KIND_STYLES.get(change.kind, "")),
            str(change.generation),
            f"{change.at:%Y-%m-%d %H:%M:%S}",
            Text(plain(change.initiator)),
            Text(plain(change.reason or "")),
            "" if change.is_of_sessions else lifetime_text(change.lifetime),
            *([Text(_bar(_seconds(change), longest))] if has_bars else []),
        )
    return table


def change_text(change: KeyChange) -> str:
    """Return the kind of a change, with an overlap, or whose sessions were ended."""
    if change.is_of_sessions:
        whose = change.sid if change.subject is None else change.subject
        return f"{change.kind}: {plain(whose or '')}"
    return f"{change.kind} +{change.overlap} s" if change.overlap else change.kind


def csv_lines(changes: Iterable[KeyChange]) -> Iterator[str]:
    """Yield the history as CSV, with a header.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([field.name for field in dataclasses.fields(KeyChange)])
    for change in changes:
        row = [_jsonable(getattr(change, field.name)) for field in dataclasses.fields(change)]
        writer.writerow([_cell(value) for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{plain(value)}" if value.startswith(("=", "+", "-", "@")) else plain(value)


def audit_text(report: AuditReport) -> str:
    """Return the verdict of an audit, a line for it and one for each finding."""
    verdict = "The record holds" if report.holds else "The record does NOT hold"
    lines = [f"{verdict}: {report.events} events of node {report.node_id or '(none)'}"]
    lines.append(f"  held against {held_against_text(report)}")
    lines += [f"  {plain(line)}" for line in caveats(report)]
    for finding in report.findings:
        where = "" if finding.position is None else f" at position {finding.position}"
        whose = "" if finding.manager is None else f" of {plain(finding.manager)}"
        lines.append(f"  {finding.kind.value}{where}{whose}: {plain(finding.message)}")
    return "\n".join(lines)


def held_against_text(report: AuditReport) -> str:
    """Return what the record was compared with."""
    against = report.held_against
    points = sum(map(len, against.checkpoints.values()))
    parts = (
        against.node_id and f"node {against.node_id}",
        against.anchor and f"the anchor of {_counted(len(against.anchor), 'manager')}",
        points and _counted(points, "checkpoint"),
    )
    return ", ".join(part for part in parts if part) or "nothing but itself"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def caveats(report: AuditReport) -> Iterator[str]:
    """Yield what the verdict does not say, for want of something to compare the record with."""
    if report.held_against.node_id is None and report.node_id is not None:
        yield f"nobody said whose record it should be: it is that of node {report.node_id}"
    if not report.is_end_known:
        names = ", ".join(report.ends_unknown[:_MAX_NAMES])
        more = len(report.ends_unknown) - _MAX_NAMES
        whose = f" of {names}{f' and {more} more' if more > 0 else ''}" if names else ""
        yield (
            "no anchor and no checkpoint knows the end: nobody can tell whether the end "
            f"of the history{whose} was cut off"
        )


def audit_facts(report: AuditReport) -> dict[str, object]:
    """Return the verdict of an audit for programs."""
    return {
        "holds": report.holds,
        "node_id": report.node_id,
        "events": report.events,
        "heads": report.heads,
        "held_against": report.held_against,
        "ends_known": tuple(sorted(report.ends_known)),
        "findings": tuple(
            {
                "kind": finding.kind,
                "is_warning": finding.kind.is_warning,
                "position": finding.position,
                "manager": finding.manager,
                "message": finding.message,
            }
            for finding in report.findings
        ),
    }


def report_text(report: TokenReport) -> str:
    """Return what is known of a token, a fact a line."""
    facts = {
        "token": "good" if report.refusal is None else f"refused: {report.refusal.value}",
        "key": report.key_id,
        "generation": report.generation,
        "ended": report.revoked_at and f"{report.revoked_at:%Y-%m-%d %H:%M:%S} UTC",
        "by": report.revoked_by,
        "because": report.revoked_because,
        **(report.claims or {}),
    }
    return "\n".join(
        f"{plain(name):12} {plain(str(value))}"
        for name, value in facts.items()
        if value is not None
    )


def lifetime_text(lifetime: timedelta | None) -> str:
    """Return how long a key was current, in the two units that matter; "current" if it is."""
    if lifetime is None:
        return "current"
    seconds = int(lifetime.total_seconds())
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {seconds % 60} s"
    return f"{lifetime.total_seconds():.1f} s"


def _seconds(change: KeyChange) -> float:
    if change.kind == "destroyed" or change.is_of_sessions:
        return 0.0
    lifetime = datetime.now(UTC) - change.at if change.lifetime is None else change.lifetime
    return max(0.0, lifetime.total_seconds())


def _bar(seconds: float, longest: float) -> str:
    """Return a bar to scale, in eighths of a character."""
    eighths = round(8 * _BAR_WIDTH * seconds / longest) if longest else 0
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8]).strip()


def _jsonable(value: object) -> object:  # noqa: PLR0911
    if isinstance(value, Checkpoint):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_jsonable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _jsonable(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value
