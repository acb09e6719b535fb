"""SQLite logs for tests, and what others do to them in processes of their own."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.config.store import Store

from . import warm_processes

TOPIC = "keyturn.KeyReset"
ALICE, BOB = UUID(int=1), UUID(int=2)

PRELUDE = """
import contextlib, gc, os, shutil, sqlite3, sys, threading, time
from pathlib import Path
from uuid import UUID
from eventsourcing.persistence import IntegrityError, StoredEvent
from keyturn.config.sqlite import SQLiteStore
from keyturn.domain.errors import LogClosedError, LogError, LogUnavailableError

path = Path(sys.argv[1])
ALICE = UUID(int=1)


def append(store):
    # Read the end, and write what follows; return its position.
    newest = store.select_events(ALICE, desc=True, limit=1)
    position = newest[0].originator_version + 1 if newest else 1
    store.insert_events([StoredEvent(ALICE, position, "keyturn.KeyReset", b"by a process")])
    return position


def positions(store):
    return [stored.originator_version for stored in store.select_events(ALICE)]
"""

APPEND = "store = SQLiteStore(path); print(append(store)); store.close()"


def event(position: int, of: UUID = ALICE, state: bytes = b"") -> StoredEvent:
    return StoredEvent(of, position, TOPIC, state or f"{of.int} {position}".encode())


def history(length: int, of: UUID = ALICE) -> list[StoredEvent]:
    return [event(position, of) for position in range(1, length + 1)]


def positions(store: Store, of: UUID = ALICE) -> list[int]:
    return [stored.originator_version for stored in store.select_events(of)]


def newest(store: Store, of: UUID = ALICE) -> int:
    return store.select_events(of, desc=True, limit=1)[0].originator_version


def run(code: str, *arguments: object) -> str:
    """Run a piece of Python behind the prelude in another process; return what it printed."""
    return warm_processes.run(PRELUDE + code, *arguments).stdout.strip()


def execute(path: Path, *statements: str) -> list[Any]:
    """Do it with SQLite's own tools; return what the last statement finds."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        found: list[Any] = []
        for statement in statements:
            found = connection.execute(statement).fetchall()
        return found


def files_of(path: Path) -> list[Path]:
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
