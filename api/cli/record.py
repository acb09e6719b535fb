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
from keyturn.cli.base import Command, as_json, cli, command
from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import CheckpointError, KeyRingNotFoundError, NodeIdError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.node import decode_node_id
from keyturn.projections.audit import audit
from keyturn.projections.findings import AuditReport, NodeIdFrom
from keyturn.projections.history import (
    changes_of,
)

_TABLE_ROWS = 50
_PROGRESS_FROM = 20_000


def _check_node_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            decode_node_id(value)
        except NodeIdError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return value


@cli.command("audit")
@click.option(
    "--node-id",
    callback=_check_node_id,
    help="Whose record it should be; the key ring's if not given.",
)
@click.option(
    "--any-node", is_flag=True, help="Take it for the record of whoever signed the first event."
)
@click.option(
    "--against",
    multiple=True,
    help="A checkpoint that the log must contain: the line, or a file that holds it. May be "
    "given more than once.",
)
@click.option("--quick", is_flag=True, help="Check the signatures of the newest events only.")
@click.option("--checkpoint", is_flag=True, help="Print a line to keep elsewhere, if it holds.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page about it, too.")
@as_json
@command
def audit_log(
    obj: Command,
    node_id: str | None,
    any_node: bool,
    against: tuple[str, ...],
    quick: bool,
    checkpoint: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Look at every event, and say whether the record can be trusted. Needs no password.

    Whose record it should be is said by the key ring in the data folder, by --node-id, or not
    at all, with --any-node. The exit code is 0 only if the record holds.
    """
    if checkpoint and as_json:
        raise click.UsageError("a checkpoint is one line, and no JSON")
    log = obj.log(for_audit=True)
    points = [_parse_checkpoint(text) for text in against]
    events: list[KeyEvent] = []
    source, anchor = NodeIdFrom.CALLER if node_id else NodeIdFrom.KEY_RING, None
    if not any_node:
        node_id, anchor = _expectations(obj, node_id)
    with _progress(log) as progress:
        report = audit(
            log,
            node_id=node_id,
            any_node=any_node,
            anchor=anchor,
            against=points,
            host_topics=obj.host_topics,
            quick=quick,
            progress=progress,
            node_id_from=source,
            on_event=(lambda event: None) if html is None else events.append,
        )
    if as_json:
        click.echo(show.json_line(show.audit_facts(report)))
    else:
        click.echo(show.audit_text(report), err=checkpoint)
    if html is not None:
        _write_html(html, report, events)
    if not report.holds:
        sys.exit(os.EX_DATAERR)
    if checkpoint:
        head = report.heads.get(obj.settings.name)
        if head is None:
            raise CheckpointError(
                f"manager {obj.settings.name!r} has no history to keep a line of"
            )
        click.echo(str(head))


@cli.command("export")
@command
def export_log(obj: Command) -> None:
    """Write the log as JSON Lines to standard output. Needs no password."""
    from keyturn import backup

    obj.log()
    backup.export_log(obj.settings, sys.stdout.buffer, host_topics=obj.host_topics)


@cli.command("import")
@command
def import_log(obj: Command) -> None:
    """Load an export from standard input into an empty log of the same key ring."""
    from keyturn import backup

    events = backup.import_log(obj.settings, sys.stdin.buffer, host_topics=obj.host_topics)
    click.echo(f"{events} events")


def _expectations(obj: Command, node_id: str | None) -> tuple[str | None, Anchor | None]:
    """Return what the record is to be held against: the node, and where the anchor ends."""
    own_id = None
    with contextlib.suppress(KeyRingNotFoundError):
        own_id = key_ring_file.read(obj.settings.key_ring_path).node_id
    node_id = node_id or own_id
    if node_id is None or node_id != own_id or Anchor.is_blank(obj.settings.anchor_path):
        return node_id, None
    return node_id, Anchor(obj.settings.anchor_path, node_id)


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
    total = log.count() if sys.stderr.isatty() else 0
    if total < _PROGRESS_FROM:
        yield lambda events: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("audit", total=total)
        yield lambda events: progress.update(task, completed=events)


def _write_html(path: Path, report: AuditReport, events: list[KeyEvent]) -> None:
    from keyturn.report import render

    page = render(report, changes_of(events), made_at=datetime.now(UTC))
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        click.echo(f"keyturn: {path} cannot be written: {error.strerror}", err=True)
        sys.exit(os.EX_CANTCREAT)
