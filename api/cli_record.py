"""The commands about the record: history, audit, export and import."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from keyturn import show
from keyturn.cli_base import Command, as_json, cli, command
from keyturn.config.event_log import EventLog
from keyturn.domain import key_ring_file
from keyturn.domain.anchor import Anchor, Mark
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import CheckpointError, KeyRingNotFoundError
from keyturn.projections.audit import AuditReport, audit
from keyturn.projections.rotation_history import EVERYTHING, HistoryFilter, RotationHistory

_TABLE_ROWS = 50
_PROGRESS_FROM = 20_000


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; UTC unless it says otherwise."""

    name = "moment"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no moment like 2026-11-24 or 2026-11-24T18:30Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


MOMENT = _Moment()


@cli.command()
@click.option("--since", type=MOMENT, help="Not before this moment.")
@click.option("--until", type=MOMENT, help="Not behind this moment.")
@click.option("--at", type=MOMENT, help="Only the change whose key was current at this moment.")
@click.option("--generation", type=int, help="Only of this generation.")
@click.option("--by", "initiator", help="Only by this initiator.")
@click.option(
    "--kind",
    type=click.Choice(["generated", "reset", "rotated", "destroyed"]),
    help="Only of this kind.",
)
@click.option("--newest-first", is_flag=True, help="Newest first.")
@click.option("--limit", type=click.IntRange(min=1), help="How many rows at the most.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, for spreadsheets.")
@as_json
@command
def history(
    obj: Command,
    since: datetime | None,
    until: datetime | None,
    at: datetime | None,
    generation: int | None,
    initiator: str | None,
    kind: str | None,
    newest_first: bool,
    limit: int | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show the changes of keys. Needs no password.

    The table shows the newest 50 unless --limit says otherwise; JSON and CSV have all.
    """
    whole = RotationHistory(obj.log(), obj.settings.name)
    if at is not None:
        change = whole.at(at)
        changes = iter([] if change is None else [change])
    else:
        which = HistoryFilter(
            since=since, until=until, generation=generation, initiator=initiator, kind=kind
        )
        if as_json or as_csv:
            changes = whole.changes(which, newest_first=newest_first, limit=limit)
        else:
            newest = list(whole.changes(which, newest_first=True, limit=limit or _TABLE_ROWS))
            changes = iter(newest if newest_first else reversed(newest))
    if as_json:
        for change in changes:
            click.echo(show.json_line(change))
    elif as_csv:
        for line in show.csv_lines(changes):
            click.echo(line, nl=False)
    else:
        console = show.console()
        console.print(show.history_table(list(changes), console.width))


@cli.command("audit")
@click.option("--node-id", help="Whose record it should be; the key ring's if not given.")
@click.option(
    "--against", help="A checkpoint that the log must contain: the line, or a file that holds it."
)
@click.option("--checkpoint", is_flag=True, help="Print a line to keep elsewhere, if it holds.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page about it, too.")
@as_json
@command
def audit_log(
    obj: Command,
    node_id: str | None,
    against: str | None,
    checkpoint: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Look at every event, and say whether the record can be trusted. Needs no password.

    The exit code is 0 only if the record holds.
    """
    log = obj.log(for_audit=True)
    point = None if against is None else _parse_checkpoint(against)
    node_id, marks = _expectations(obj, node_id)
    with _progress(log) as progress:
        report = audit(log, node_id=node_id, marks=marks, against=point, progress=progress)
    if html is not None:
        _write_html(html, report, log)
    if checkpoint and report.holds and obj.settings.name in report.heads:
        click.echo(str(report.heads[obj.settings.name]))
    elif as_json:
        click.echo(show.json_line(report))
    else:
        click.echo(show.audit_text(report))
    if not report.holds:
        sys.exit(os.EX_DATAERR)


@cli.command("export")
@command
def export_log(obj: Command) -> None:
    """Write the log as JSON Lines to standard output. Needs no password."""
    from keyturn import backup

    obj.log()
    backup.export_log(obj.settings, sys.stdout.buffer)


@cli.command("import")
@command
def import_log(obj: Command) -> None:
    """Load an export from standard input into an empty log of the same key ring."""
    from keyturn import backup

    events = backup.import_log(obj.settings, sys.stdin.buffer)
    click.echo(f"{events} events")


def _expectations(obj: Command, node_id: str | None) -> tuple[str | None, dict[str, Mark]]:
    """Return what the record is to be held against: the node, and where the anchor ends."""
    own_id = None
    with contextlib.suppress(KeyRingNotFoundError):
        own_id = key_ring_file.read(obj.settings.key_ring_path).node_id
    node_id = node_id or own_id
    if node_id is None or node_id != own_id or Anchor.is_blank(obj.settings.anchor_path):
        return node_id, {}
    return node_id, Anchor(obj.settings.anchor_path, node_id).marks()


def _parse_checkpoint(text: str) -> Checkpoint:
    if not text.startswith("keyturn-checkpoint"):
        try:
            text = Path(text).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{text} is neither a checkpoint nor a file of one") from error
    return Checkpoint.parse(text)


@contextlib.contextmanager
def _progress(log: EventLog) -> Iterator[Callable[[int], None]]:
    """Show a progress bar to a person who waits for a long log."""
    total = log.recorder.max_notification_id() or 0
    if total < _PROGRESS_FROM or not sys.stderr.isatty():
        yield lambda events: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("audit", total=total)
        yield lambda events: progress.update(task, completed=events)


def _write_html(path: Path, report: AuditReport, log: EventLog) -> None:
    from keyturn.report_html import render

    changes = {
        name: list(RotationHistory(log, name).changes(EVERYTHING)) for name in report.heads
    }
    path.write_text(render(report, changes, made_at=datetime.now(UTC)), encoding="utf-8")
