"""The history as a table for people, as lines to follow, and as CSV for spreadsheets."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keyturn.projections.history import KeyChange
from keyturn.show import cell, change_text, lifetime_text, plain, time_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_BAR_WIDTH = 12
_WIDTH_FOR_ONE_LINE = 100
_WIDTH_FOR_BARS = 120
_KIND_STYLES = {"generated": "green", "reset": "yellow", "rotated": "cyan", "destroyed": "red"}
# What a spreadsheet takes for a formula, full width too, at the beginning of a cell, or after
# what another country's spreadsheet takes for the end of one.
_FORMULA = re.compile(
    r"((?:^|[,;|\t\r\n])[\s'\"]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe66\ufe63\ufe6b])"
)


def print_history(
    console: Console, changes: Sequence[KeyChange], *, with_manager: bool = False
) -> None:
    """Print the history of key changes as a table for people.

    Args:
        console: where. If it is narrow, who and why stand below each other; if it is wide,
            lifetimes are drawn to scale too.
        changes: in the order to show them in.
        with_manager: whether they are of several managers.
    """
    from rich import box
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    is_wide = console.width >= _WIDTH_FOR_ONE_LINE
    has_bars = console.width >= _WIDTH_FOR_BARS and console.encoding.startswith("utf")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    if with_manager:
        table.add_column("manager", overflow="fold")
    table.add_column("#", justify="right", style="dim")
    table.add_column("change", overflow="fold", max_width=None if is_wide else 16)
    table.add_column("key", justify="right")
    if is_wide:
        table.add_column("when (UTC)", no_wrap=True)
        table.add_column("by", overflow="fold")
        table.add_column("why", overflow="fold")
        table.add_column("lived", justify="right", no_wrap=True)
    else:
        table.add_column("when (UTC), lived", no_wrap=True)
        table.add_column("by, why", overflow="fold")
    if has_bars:
        table.add_column("", no_wrap=True)
    lives = [_life(change) for change in changes]
    longest = max(seconds for _, seconds in lives) or 1.0
    for change, (lived, seconds) in zip(changes, lives, strict=True):
        when = time_text(change.at)
        by, why = Text(_who(change)), Text(plain(change.reason or ""))
        table.add_row(
            *([Text(plain(change.manager))] if with_manager else []),
            str(change.position),
            Text(change_text(change), _KIND_STYLES.get(change.kind, "")),
            _key(change),
            *([when, by, why, lived] if is_wide else [_below(when, lived), _below(by, why)]),
            *([Bar(longest, 0, seconds, width=_BAR_WIDTH, color="blue")] * has_bars),
        )
    console.print(table)


def change_line(change: KeyChange, *, with_manager: bool = False) -> str:
    """Return a change as one line, for who follows the log."""
    whose = f"{plain(change.manager)} " if with_manager else ""
    why = f": {plain(change.reason)}" if change.reason else ""
    key = f"key {_key(change)}, " if _key(change) else ""
    return (
        f"{time_text(change.at)}  {whose}{change.position}  {change_text(change)}, "
        f"{key}by {_who(change)}{why}"
    )


def csv_header() -> str:
    """Return the names of the columns of the history as CSV."""
    return _csv(field.name for field in dataclasses.fields(KeyChange))


def csv_line(change: KeyChange) -> str:
    """Return a change as CSV, in which nothing is a formula to a spreadsheet."""
    return _csv(getattr(change, field.name) for field in dataclasses.fields(change))


def _csv(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in values])
    return line.getvalue().removesuffix("\n")


def _cell(value: object) -> object:
    return plain(_FORMULA.sub(r"\1'", value)) if isinstance(value, str) else cell(value)


def _who(change: KeyChange) -> str:
    """Return who it was, as somebody said, and who recorded it, if that is another one."""
    if change.recorded_by in (None, change.initiator):
        return plain(change.initiator)
    return plain(f"{change.initiator} (recorded by {change.recorded_by})")


def _key(change: KeyChange) -> str:
    """Return the generation of the key after a change; there is none after the end of all."""
    return "" if change.kind == "destroyed" else str(change.generation)


def _life(change: KeyChange) -> tuple[str, float]:
    """Return how long the key lived that began here: as a text, and in seconds for its bar."""
    if change.is_of_sessions or change.kind == "destroyed":
        return "", 0.0
    lifetime = datetime.now(UTC) - change.at if change.lifetime is None else change.lifetime
    return lifetime_text(change.lifetime), max(0.0, lifetime.total_seconds())


def _below(upper: str | Text, lower: str | Text) -> Text:
    from rich.text import Text

    return Text("\n").join([Text.assemble(part) for part in (upper, lower) if part])
