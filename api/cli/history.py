"""`keyturn history`: what the log says of keys and ended sessions."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any, BinaryIO

import click

from keyturn import show
from keyturn.cli import output, tables
from keyturn.cli.base import Command, cli, command, warn_of_unreadable
from keyturn.cli.parameters import json_option, moment
from keyturn.config.event_log import EventLog
from keyturn.domain.manager_state import manager_not_found
from keyturn.domain.session_keys import KINDS
from keyturn.projections.history import EVERYTHING, HistoryFilter, KeyChange, RotationHistory

_TABLE_ROWS = 50
_FOLLOW_CHECK = 1.0  # seconds


@cli.command()
@click.option("--since", type=moment, help="Not before this moment, or this long ago: 7d.")
@click.option("--until", type=moment, help="Not after this moment.")
@click.option("--at", type=moment, help="Only the change whose key was current at this moment.")
@click.option("--generation", type=int, help="Only of this generation.")
@click.option("--key-id", help="Only of the key of this id (the kid of a token).")
@click.option(
    "--initiator", "--by", help="Only by this initiator: the whole name. --search finds parts."
)
@click.option("--search", help="Only with this text in who, why, subject or session.")
@click.option("--kind", type=click.Choice(KINDS), help="Only of this kind.")
@click.option("--newest-first", is_flag=True, help="Newest first.")
@click.option("--limit", type=click.IntRange(min=1), help="How many rows at the most.")
@click.option("--after", type=int, help="Go on after the row at this position.")
@click.option("--all", "all_managers", is_flag=True, help="Of all managers of the log.")
@click.option("--follow", is_flag=True, help="Go on with each change as it is made.")
@click.option("--export", type=click.File("rb"), help="Of an export, instead of a log.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, for spreadsheets.")
@json_option
@command
def history(  # noqa: PLR0912 - what goes with what, and three ways to show it
    obj: Command,
    /,
    at: datetime | None,
    newest_first: bool,
    limit: int | None,
    after: int | None,
    all_managers: bool,
    follow: bool,
    export: BinaryIO | None,
    as_csv: bool,
    **filters: Any,  # the options that are left: those of a `HistoryFilter`
) -> None:
    """Show the changes of keys and the ends of sessions. Needs no password.

    The table shows the newest 50 unless told otherwise; JSON and CSV have all. What is shown is
    what the log says: whether that is true, `keyturn audit` tells.
    """
    which = HistoryFilter(**filters)
    if at is not None and (which != EVERYTHING or after is not None or follow or all_managers):
        raise click.UsageError("--at goes with no other filter")
    if follow and (newest_first or export is not None or which.until is not None):
        raise click.UsageError("--follow goes on at the end of a log: leave the other order out")
    if all_managers and after is not None:
        raise click.UsageError("--after is a position of one manager: leave --all out")
    log = obj.log(export)
    histories = _Histories(log, None if all_managers else obj.settings.name)
    is_table = not (obj.as_json or as_csv)
    if at is not None:
        found = RotationHistory(log, obj.settings.name).changes(at=at)
    elif is_table:
        found = iter(histories.page(which, newest_first, after, limit or _TABLE_ROWS))
    else:
        found = histories.changes(which, newest_first=newest_first, after=after, limit=limit)
    line_of: Callable[[KeyChange], str] = show.json_line
    if is_table:
        line_of = partial(tables.change_line, with_manager=all_managers)
        rows = list(found)
        count = len(rows)
        if rows:
            tables.print_history(show.console(), rows, with_manager=all_managers)
        if rows and at is None:
            _say_what_is_left(histories.count(which), rows, newest_first, all_managers)
    else:
        if not obj.as_json:
            line_of = tables.csv_line
            click.echo(tables.csv_header())
        count = _write(map(line_of, found))
    if follow:
        _write(map(line_of, histories.follow(which)))
    elif not count:
        what = "no key was current then" if at is not None else "nothing fits what was asked for"
        output.complain(f"{what}; the history has {histories.count(EVERYTHING)}")


def _write(lines: Iterable[str]) -> int:
    """Write lines, each as soon as it is known, and return how many."""
    count = 0
    for line in lines:
        click.echo(line)
        count += 1
    return count


class _Histories:
    """The history of one manager of a log, or of all of them together, as it is now.

    Raises:
        ManagerNotFoundError: the log has no such manager.
    """

    def __init__(self, log: EventLog, name: str | None) -> None:
        self._log = log
        self._name = name
        states, unreadable = log.readable_managers()
        self._ends = {state.name: state.position for state in states}
        if name is None:
            warn_of_unreadable(unreadable)
        elif name not in self._ends and log.newest(name) is None:  # not one that is damaged
            raise manager_not_found(name, log.location, states)

    def changes(
        self,
        which: HistoryFilter,
        *,
        newest_first: bool = False,
        after: int | None = None,
        limit: int | None = None,
    ) -> Iterator[KeyChange]:
        """Yield changes, of several managers in the order of time."""
        each = [
            RotationHistory(self._log, name).changes(
                which, newest_first=newest_first, after=after, limit=limit
            )
            for name in self._names()
        ]
        merged = heapq.merge(*each, key=attrgetter("at"), reverse=newest_first)
        known = (c for c in merged if c.position <= self._ends.get(c.manager, c.position))
        return islice(known, limit)

    def page(
        self, which: HistoryFilter, newest_first: bool, after: int | None, limit: int
    ) -> list[KeyChange]:
        """Return what a table shows: the newest, in the order of time unless told otherwise."""
        is_end = newest_first or after is None
        page = list(self.changes(which, newest_first=is_end, after=after, limit=limit))
        return page if newest_first or not is_end else page[::-1]

    def count(self, which: HistoryFilter) -> int:
        """Return how many changes fit."""
        return sum(1 for _ in self.changes(which))

    def follow(self, which: HistoryFilter) -> Iterator[KeyChange]:
        """Yield each change that came after those of `changes`, once it was made, for ever."""
        changed = threading.Event()
        stop = self._log.watch(changed.set)
        try:
            while True:
                changed.clear()
                for name in self._names():
                    after = self._ends.get(name, 0)
                    for change in RotationHistory(self._log, name).changes(after=after):
                        self._ends[name] = change.position
                        if which.fits(change):
                            yield change
                changed.wait(_FOLLOW_CHECK)
        finally:
            stop()

    def _names(self) -> list[str]:
        return [self._name] if self._name is not None else [s.name for s in self._log.managers()]


def _say_what_is_left(
    count: int, rows: list[KeyChange], newest_first: bool, all_managers: bool
) -> None:
    if count <= len(rows):
        return
    oldest = min(rows, key=attrgetter("position")).position
    order = "" if newest_first else "--newest-first "
    more = "" if all_managers else f", or {order}--after {oldest}"
    click.echo(f"{len(rows)} of {count} changes: --limit {count}{more}")
