"""What an audit looks at, and what it holds that against."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import click

from keyturn.cli import output
from keyturn.cli.base import Command
from keyturn.config import key_ring_file
from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import (
    CheckpointError,
    KeyRingError,
    KeyRingNotFoundError,
    LogDamagedError,
    NodeIdRequiredError,
    NotAKeyturnLogError,
    SettingsError,
)
from keyturn.projections.findings import (
    AuditReport,
    Finding,
    FindingKind,
    HeldAgainst,
    NodeIdFrom,
)


@dataclass(frozen=True)
class Expectations:
    """Whose record it should be, who said so, and what this machine has seen of it."""

    node_id: str | None
    source: NodeIdFrom | None
    anchor: Anchor | None


def expectations(
    obj: Command, node_id: str | None, *, any_node: bool, is_export: bool
) -> Expectations:
    """Return what a record is to be held against.

    An export is of some moment in the past, so the anchor knows no end of it.
    """
    own_id = None
    try:
        settings = obj.settings
        ring = key_ring_file.read(settings.key_ring_path, group_readable=settings.group_readable)
        own_id = ring.node_id
    except KeyRingNotFoundError:
        pass
    except (KeyRingError, SettingsError):  # an auditor has none, or may not read it
        if not (node_id or any_node):
            raise
    if any_node:
        return Expectations(node_id, NodeIdFrom.CALLER if node_id else None, None)
    source = NodeIdFrom.CALLER if node_id else NodeIdFrom.KEY_RING
    node_id = node_id or own_id
    if node_id is None or own_id not in (None, node_id) or is_export:
        return Expectations(node_id, source, None)
    with contextlib.suppress(SettingsError):  # no home folder, and so no anchor
        if not Anchor.is_blank(obj.settings.anchor_path):
            return Expectations(node_id, source, Anchor(obj.settings.anchor_path, node_id))
    return Expectations(node_id, source, None)


def refuse_unnamed(expected: Expectations) -> None:
    """Raise `NodeIdRequiredError` if nobody said whose record it should be."""
    if expected.node_id is None and expected.source is not None:
        raise NodeIdRequiredError("say whose record it should be: --node-id, or --any-node")


def open_evidence(obj: Command, export: BinaryIO | None) -> EventLog | str:
    """Return the log to look at, or what is wrong with the store itself, so that it cannot be."""
    if export is not None:
        return obj.exported_log(export, for_audit=True)
    try:
        return obj.log(for_audit=True)
    except (LogDamagedError, NotAKeyturnLogError) as error:
        return str(error)


def report_of_unreadable(problem: str, expected: Expectations) -> AuditReport:
    """Return the verdict on a log whose store lies, so that none of its rows means anything."""
    message = f"{problem}; until then no row can be looked at"
    finding = Finding(FindingKind.STORE, None, None, message)
    against = HeldAgainst(expected.node_id, node_id_from=expected.source)
    return AuditReport(expected.node_id, 0, {}, (finding,), against)


def checkpoints_of(texts: tuple[str, ...]) -> Iterator[Checkpoint]:
    """Yield the checkpoints of lines, and of files that hold some, a line each."""
    for text in texts:
        if text.startswith("keyturn-checkpoint"):
            yield Checkpoint.parse(text)
            continue
        try:
            with click.open_file(text, encoding="utf-8") as file:
                lines = [line.strip() for line in file if line.strip()]
        except FileNotFoundError:
            output.complain(f"--against {text}: it is no checkpoint, and there is no such file")
            sys.exit(os.EX_NOINPUT)
        except (OSError, UnicodeDecodeError) as error:
            message = f"{text} is neither a checkpoint nor a file of some"
            raise CheckpointError(message) from error
        if not lines:
            raise CheckpointError(f"the file {text} holds no checkpoint")
        yield from map(Checkpoint.parse, lines)
