"""Logs in SQLite files: written as a service writes them, altered by hand, and audited."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import keyturn
from keyturn import AuditReport, EventLog, FindingKind, KeyRing, SessionKeys, audit
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import Origin, manager_id
from tests.domain.builders import keys_in

START = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = ["generated", "reset", "rotated", "destroyed", "generated", "reset"]
"""The changes that `record` writes, an hour apart: all four kinds."""
POSITIONS = range(1, len(KINDS) + 1)
LAST = POSITIONS[-1]
ID = manager_id("default").hex


@contextlib.contextmanager
def opened(path: Path) -> Iterator[EventLog]:
    log = keyturn.open_event_log(f"sqlite:///{path}", for_audit=True)
    with contextlib.closing(log):
        yield log


def change(keys: SessionKeys, kind: str, key_ring: KeyRing, at: datetime) -> None:
    by, secret = Origin("alice", f"because of {kind}", at), secrets.token_bytes(32)
    if kind == "generated":
        keys.regenerate(secret, key_ring, by)
    elif kind == "reset":
        keys.reset(secret, key_ring, by)
    elif kind == "rotated":
        keys.rotate(secret, key_ring, by, overlap=60)
    else:
        keys.destroy(key_ring, by)


def record(
    path: Path,
    key_ring: KeyRing,
    manager: str = "default",
    kinds: list[str] = KINDS,
    step: timedelta = timedelta(hours=1),
) -> None:
    """Append these changes to a log, one commit each."""
    with opened(path) as log:
        for kind in kinds:
            keys = keys_in(log, manager)
            change(keys, kind, key_ring, START + keys.version * step)
            assert log.append(keys)


def record_at_once(path: Path, key_ring: KeyRing, resets: int) -> None:
    """Make a long log in one commit."""
    keys = SessionKeys.blank("default")
    change(keys, "generated", key_ring, START)
    for number in range(resets):
        change(keys, "reset", key_ring, START + timedelta(hours=number))
    with opened(path) as log:
        assert log.append(keys)


def execute(path: Path, statement: str, *values: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def copy(path: Path, to: Path) -> Path:
    """Back a log up."""
    execute(path, "VACUUM INTO ?", str(to))
    return to


class Marks(dict[str, Mark]):
    """What an anchor has seen."""

    def marks(self) -> dict[str, Mark]:
        return self


def audit_file(path: Path, marks: dict[str, Mark] | None = None, **arguments: Any) -> AuditReport:
    """Audit a log, of any node unless told otherwise."""
    with opened(path) as log:
        return audit_log(log, anchor=None if marks is None else Marks(marks), **arguments)


def audit_log(log: EventLog, **arguments: Any) -> AuditReport:
    return audit(log, any_node="node_id" not in arguments, **arguments)


def mark_of(path: Path, manager: str = "default") -> Mark:
    """Return what an anchor says of the newest event."""
    head = audit_file(path).heads[manager]
    return Mark(head.position, head.digest, head.signature)


def places(report: AuditReport) -> list[tuple[FindingKind, int | None]]:
    return [(finding.kind, finding.position) for finding in report.findings]
