"""What an audit looks at, and what it holds that against."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
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
    AnchorError,
    CheckpointError,
    KeyRingError,
    KeyRingNotFoundError,
    LogDamagedError,
    NotAKeyturnLogError,
    SettingsError,
)
from keyturn.domain.mark import Mark
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
    source: NodeIdFrom
    anchor: Anchor | None


def expectations(
    obj: Command, node_id: str | None, *, any_node: bool, is_export: bool
) -> Expectations:
    """Return what a record is to be held against.

    An export is of some moment in the past, so the anchor knows no end of it.
    """
    settings, own_id = obj.settings, None
    try:
        ring = key_ring_file.read(settings.key_ring_path, group_readable=settings.group_readable)
        own_id = ring.node_id
    except KeyRingNotFoundError:
        pass
    except (KeyRingError, SettingsError):  # an auditor has none, or may not read it
        if not (node_id or any_node):
            raise
    if node_id or any_node:
        source = NodeIdFrom.CALLER
    else:
        source, node_id = NodeIdFrom.KEY_RING, own_id
    anchor = None
    if node_id and own_id in (None, node_id) and not (any_node or is_export):
        with contextlib.suppress(SettingsError):  # no home folder, and so no anchor
            if not Anchor.is_blank(settings.anchor_path):
                anchor = Anchor(settings.anchor_path, node_id)
    return Expectations(node_id, source, anchor)


def open_evidence(
    obj: Command, export: BinaryIO | None, expected: Expectations
) -> EventLog | str:
    """Return the log to look at, or what is wrong with the store itself, so that it cannot be.

    A log that is gone is a finding where an anchor has seen one, and else an error.
    """
    try:
        return obj.log(export, for_audit=True, or_empty=expected.anchor is not None)
    except (LogDamagedError, NotAKeyturnLogError) as error:
        return str(error)


def report_of_unreadable(
    problem: str, expected: Expectations, points: Iterable[Checkpoint]
) -> AuditReport:
    """Return the verdict on a log whose store lies, so that none of its rows means anything."""
    message = (
        f"{problem}. No row was read, because such a store can show what was never written: only "
        "once it is mended can the record be held against what is named here"
    )
    findings = [Finding(FindingKind.STORE, None, None, message)]
    seen: Mapping[str, Mark] = {}
    try:
        seen = {} if expected.anchor is None else expected.anchor.marks()
    except AnchorError as error:
        findings.append(Finding(FindingKind.ALTERED, None, None, str(error)))
    checkpoints: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for point in points:
        checkpoints[point.manager] += (point.position,)
    against = HeldAgainst(
        expected.node_id,
        {name: mark.position for name, mark in seen.items()},
        dict(checkpoints),
        expected.source if expected.node_id else None,
    )
    ends = frozenset({*seen, *checkpoints})
    return AuditReport(expected.node_id, 0, {}, tuple(findings), against, ends)


def checkpoints_of(texts: tuple[str, ...]) -> Iterator[Checkpoint]:
    """Yield the checkpoints of lines, and of files that hold some, a line each."""
    for text in texts:
        if text.startswith("keyturn-checkpoint"):
            yield Checkpoint.parse(text)
            continue
        try:
            with click.open_file(text, encoding="utf-8") as file:
                lines = [line.strip() for line in file if line.strip()]
        except FileNotFoundError as error:
            output.complain(f"--against {text}: it is no checkpoint, and there is no such file")
            raise click.exceptions.Exit(os.EX_NOINPUT) from error
        except (OSError, UnicodeDecodeError) as error:
            message = f"{text} is neither a checkpoint nor a file of some"
            raise CheckpointError(message) from error
        if not lines:
            raise CheckpointError(f"the file {text} holds no checkpoint")
        yield from map(Checkpoint.parse, lines)
