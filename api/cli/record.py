"""The commands about the record: audit, export and import."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from keyturn import backup, show
from keyturn.cli import output
from keyturn.cli.base import Command, cli, command
from keyturn.cli.evidence import (
    checkpoints_of,
    expectations,
    open_evidence,
    report_of_unreadable,
)
from keyturn.cli.parameters import PATH, json_option, moment
from keyturn.config.anchor import Anchor
from keyturn.domain.errors import (
    AnchorError,
    CheckpointError,
    NodeIdError,
    NodeIdRequiredError,
    SettingsError,
)
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.mark import Mark
from keyturn.domain.node import decode_node_id
from keyturn.domain.session_keys import manager_id
from keyturn.projections.audit import audit
from keyturn.projections.findings import AuditReport
from keyturn.projections.history import changes_of

_PROGRESS_FROM = 20_000


def node_id_of(text: str) -> str:
    """Return a node id, if it is one."""
    try:
        decode_node_id(text)
    except NodeIdError as error:
        raise click.BadParameter(str(error)) from error
    return text


@cli.command("audit")
@click.option(
    "--node-id",
    type=node_id_of,
    metavar="ID",
    help="Whose record it should be; the key ring's if not given.",
)
@click.option(
    "--any-node", is_flag=True, help="Take it for the record of whoever signed the first event."
)
@click.option(
    "--against",
    multiple=True,
    help="A checkpoint that the log must contain: the line, or a file of such lines. May be "
    "given more than once.",
)
@click.option("--export", type=click.File("rb"), help="Look at an export, instead of a log.")
@click.option("--quick", is_flag=True, help="Check the signatures of the newest events only.")
@click.option("--checkpoint", is_flag=True, help="Print a line to keep elsewhere, if it holds.")
@click.option("--all", "all_managers", is_flag=True, help="With --checkpoint: of each manager.")
@click.option("--html", type=PATH, help="Write a page about it, too.")
@click.option(
    "--since",
    type=moment,
    help="Show on the page only what came from this moment on, or this long ago: 7d.",
)
@click.option(
    "--name", "names", multiple=True, help="Show only this manager on the page; may be repeated."
)
@json_option
@command
def audit_log(
    obj: Command,
    node_id: str | None,
    any_node: bool,
    against: tuple[str, ...],
    export: BinaryIO | None,
    quick: bool,
    checkpoint: bool,
    all_managers: bool,
    html: Path | None,
    since: datetime | None,
    names: tuple[str, ...],
) -> None:
    """Look at every event, and say whether the record can be trusted. Needs no password.

    Whose record it should be is said by the key ring in the data folder, by --node-id, or not
    at all, with --any-node. The exit code is 0 only if the record holds.
    """
    if checkpoint and obj.as_json:
        raise click.UsageError("a checkpoint is one line, and no JSON")
    if html is None and (since or names):
        raise click.UsageError("--since and --name are about the page: say --html FILE too")
    points = list(checkpoints_of(against))
    expected = expectations(obj, node_id, any_node=any_node, is_export=export is not None)
    log = open_evidence(obj, export, expected)
    if expected.node_id is None and not any_node:
        raise NodeIdRequiredError("say whose record it should be: --node-id, or --any-node")
    events: list[KeyEvent] = []
    if isinstance(log, str):
        report = report_of_unreadable(log, expected, points)
    else:
        # For a person who waits for a long log.
        total = log.count() if sys.stderr.isatty() else 0
        is_short = total < _PROGRESS_FROM
        with click.progressbar(length=total, file=sys.stderr, hidden=is_short) as bar:
            report = audit(
                log,
                node_id=expected.node_id,
                any_node=any_node,
                anchor=expected.anchor,
                against=points,
                host_topics=obj.host_topics,
                quick=quick,
                progress=lambda events: bar.update(events - bar.pos),
                node_id_from=expected.source,
                on_event=(lambda event: None) if html is None else events.append,
            )
    if obj.as_json:
        click.echo(show.json_line(show.audit_facts(report)))
    else:
        click.echo(show.audit_text(report), err=checkpoint)
    if html is not None:
        _write_html(html, report, events, since=since, names=names)
    if not report.holds:
        raise click.exceptions.Exit(os.EX_DATAERR)
    if checkpoint:
        _write_checkpoints(report, None if all_managers else obj.settings.name)


def _write_checkpoints(report: AuditReport, name: str | None) -> None:
    """Print a line for a manager, or for each."""
    heads = [head for manager, head in report.heads.items() if name in (None, manager)]
    if not heads:
        whose = "the log" if name is None else f"manager {name!r}"
        raise CheckpointError(f"{whose} has no history to keep a line of")
    for head in heads:
        click.echo(str(head))


@cli.command("export")
@click.option(
    "--node-id",
    type=node_id_of,
    metavar="ID",
    help="Whose log it is; the key ring's in the data folder if not given.",
)
@command
def export_log(obj: Command, node_id: str | None) -> None:
    """Write the log as JSON Lines to standard output. Needs no password."""
    node_id = node_id or obj.stored_key_ring().node_id
    log = obj.log()
    seen: dict[str, Mark] = {}
    with contextlib.suppress(AnchorError, SettingsError):  # another node's, or there is none
        seen = Anchor(obj.settings.anchor_path, node_id).marks()
    backup.export_log(
        obj.settings, sys.stdout.buffer, host_topics=obj.host_topics, node_id=node_id
    )
    ends = {state.name: state.position for state in log.managers()}
    ends |= {manager_id(name).hex: position for name, position in ends.items()}
    for name, mark in seen.items():
        position = ends.get(name, 0)
        if position < mark.position:
            output.complain(
                f"the log was cut off, and so is the export: of manager {name} it ends at "
                f"position {position}, and this machine has seen {mark.position}; run "
                "`keyturn audit`"
            )


@cli.command("import")
@command
def import_log(obj: Command) -> None:
    """Load an export from standard input into an empty log. It is of the same key ring."""
    events = backup.import_log(obj.settings, sys.stdin.buffer, host_topics=obj.host_topics)
    click.echo(show.counted(events, "event"))


def _write_html(
    path: Path,
    report: AuditReport,
    events: list[KeyEvent],
    *,
    since: datetime | None,
    names: tuple[str, ...],
) -> None:
    from keyturn.report import render

    changes = changes_of(events)
    against = report.held_against
    known = {*changes, *report.heads, *against.anchor, *against.checkpoints}
    if unknown := [name for name in names if name not in known]:
        output.complain(f"the record has no manager {unknown[0]!r}: {path} was not written")
        raise click.exceptions.Exit(os.EX_NOINPUT)
    page = render(report, changes, made_at=datetime.now(UTC), since=since, names=names)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        output.complain(f"{path} cannot be written: {error.strerror}")
        raise click.exceptions.Exit(os.EX_CANTCREAT) from error
