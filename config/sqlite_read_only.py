"""A SQLite log where nothing can be written: read-only media, or a file of somebody else's.

SQLite cannot read beside a write-ahead log without writing to its index. So where there is one
a private copy is read; where there is none the file is read as one that never changes, until
it does. Nothing is written to the evidence, and nothing in it is checkpointed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from keyturn.config import sqlite_files, sqlite_schema
from keyturn.config.sqlite_connection import Connection
from keyturn.config.sqlite_database import Database
from keyturn.domain.errors import LogUnavailableError, NotAKeyturnLogError

_COARSEST_CLOCK = 0.1
"""Seconds within which a file may change twice and show one time of change."""


class ReadOnlyDatabase(Database):
    """The file of a log, or a copy of it, to be read only.

    Its `inode` is None: it holds no lock of the file, so a child may open it as well.
    """

    is_read_only = True
    _remove_copy: Callable[[], object] = object  # nothing to remove

    def _open(self, deadline: float) -> None:
        self._mode = "mode=ro&immutable=1"
        self._seen = self._state()
        self._wal = sqlite_files.files_of(self.path)[1]
        if self._wal.exists() and self._wal.stat().st_size > 0:
            self._copy(deadline)
        self.count = self._count
        connection = self.connect(deadline)
        self.check_schema(connection)
        self.idle.append(connection)

    def _copy(self, deadline: float) -> None:
        folder = tempfile.mkdtemp(prefix="keyturn-")
        self._remove_copy = weakref.finalize(self, _remove, folder, os.getpid())
        self._mode = "mode=ro"
        self.file = Path(folder, self.path.name)
        while True:
            self._seen = self._state()
            shutil.copyfile(self.path, self.file)
            with contextlib.suppress(FileNotFoundError):  # its last user closed it
                shutil.copyfile(self._wal, f"{self.file}-wal")
            if self._state() == self._seen:
                return
            if time.monotonic() >= deadline:
                raise LogUnavailableError(
                    f"the log {self.path} changes too often to copy it: try again",
                    location=str(self.path),
                    is_busy=True,
                )

    def _configure(self, connection: Connection) -> None:
        if sqlite_schema.version(connection) == 0:
            raise NotAKeyturnLogError(
                "the file is empty, and a log cannot be made there: choose another path"
            )

    def look(self) -> bool:
        """There is nothing that would have to stay where it is."""
        return True

    def retire(self, *, tidily: bool = False) -> bool:
        is_over = super().retire(tidily=tidily)
        if is_over and not self.is_abandoned:
            self._remove_copy()
        return is_over

    def _count(self) -> object:
        state = self._state()
        if state != self._seen:
            self._stop()
        newest = max(changed for *_, changed in state) / 1e9
        if self.is_retired or time.time() - newest < _COARSEST_CLOCK:
            return object()
        return state

    def _state(self) -> list[tuple[int, int, int]]:
        """Return what differs once the files were changed."""
        return [_state_of(file) for file in sqlite_files.files_of(self.path)[:2]]


def open_database(path: Path, deadline: float) -> Database:
    """Open a log that is there, to be written if that is possible.

    Args:
        path: where it lies.
        deadline: until when to wait for others, by the monotonic clock.

    Raises:
        LogUnavailableError: there is none any more, or others keep it locked.
        LogDamagedError, NotAKeyturnLogError: see `sqlite_schema.check`.
    """
    if not os.path.lexists(path):
        raise sqlite_files.displaced(path)
    kind = Database if sqlite_files.can_be_written(path) else ReadOnlyDatabase
    return kind(path, deadline)


def _state_of(file: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a child has no say in it
        shutil.rmtree(folder, ignore_errors=True)
