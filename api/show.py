"""How the command line shows things: tables for people, JSON lines for programs.

What comes from a log or a user is text, never markup: it is shown with everything that could
move the cursor, or turn the direction of writing, spelled out.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from keyturn.actors.messages import TokenReport
from keyturn.projections.rotation_history import KeyChange

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

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


def history_table(changes: Iterable[KeyChange]) -> Table:
    """Return the history of key changes as a table for people."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("change")
    table.add_column("key", justify="right")
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("by")
    table.add_column("why", overflow="fold")
    table.add_column("lived", justify="right", no_wrap=True)
    for change in changes:
        table.add_row(
            str(change.position),
            Text(change.kind, _KIND_STYLES.get(change.kind, "")),
            str(change.generation),
            f"{change.at:%Y-%m-%d %H:%M:%S}",
            Text(plain(change.initiator)),
            Text(plain(change.reason or "")),
            lifetime_text(change.lifetime),
        )
    return table


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


def _jsonable(value: object) -> object:
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
