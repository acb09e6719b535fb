"""Connections to the SQLite file of a log: private, durable, and given up after an error.

eventsourcing's pool leaves WAL and FULL to SQLite's defaults; here they are set, and seen to
be. A file that is not ours is left as it is.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from eventsourcing.sqlite import (
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

from keyturn.config import files
from keyturn.config.forks import using_sqlite
from keyturn.domain.errors import LogClosedError, LogUnavailableError, NotAKeyturnLogError

APPLICATION_ID = 0x4B54524E
"""`PRAGMA application_id` of our files: "KTRN"."""

# Closing a file drops the locks of every connection that this process has to it. So the file
# is made, and that descriptor closed, before any other thread can have one.
_making = threading.Lock()

_carried: set[tuple[int, int]] = set()
"""The files (device, inode) to which this process has connections of its parent's."""


class Datastore(SQLiteDatastore):
    """The connections to one file, which must be there."""

    pool: Pool

    def __init__(self, path: Path, lock_timeout: float) -> None:
        uri = f"file:{quote(str(path))}?mode=rw"
        super().__init__(uri)
        self.location = str(path)
        self._path = path
        self._inode: tuple[int, int] | None = None
        self._of_this_thread = threading.local()
        self.pool = Pool(path, db_name=uri, pool_timeout=lock_timeout)

    @contextlib.contextmanager
    def get_connection(self, *, commit: bool) -> Iterator[SQLiteConnection]:
        with using_sqlite(), super().get_connection(commit=commit) as connection:
            yield connection

    @contextlib.contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        begun = self._begun()
        if begun is None:
            with super().transaction(commit=commit) as cursor:
                yield cursor
        elif commit:
            self._of_this_thread.begun = None
            with begun[0]:
                yield begun[1]
        else:  # another connection may be had only when the writer's is given back
            yield begun[1]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other writers out until the first commit of this thread, or the block's end."""
        with contextlib.ExitStack() as stack:
            cursor = stack.enter_context(super().transaction(commit=True))
            self._of_this_thread.begun = stack.pop_all(), cursor
            try:
                yield
            finally:
                begun = self._begun()
                if begun is not None:
                    self._of_this_thread.begun = None
                    begun[0].close()

    def _begun(self) -> tuple[contextlib.ExitStack, SQLiteCursor] | None:
        return getattr(self._of_this_thread, "begun", None)

    def note_place(self) -> None:
        """Remember which file lies at the path now."""
        self._inode = _identity(self._path)

    def is_in_place(self) -> bool:
        """Whether it is still there; what is written to a removed file is lost."""
        return self._inode is not None and _identity(self._path) == self._inode

    def carry_over_fork(self) -> None:
        """Let this process, which was forked, make no new connections to the file."""
        if self._inode is not None:
            _carried.add(self._inode)


class Pool(SQLiteConnectionPool):
    """Connections that commit durably."""

    def __init__(self, path: Path, *, db_name: str, pool_timeout: float) -> None:
        super().__init__(db_name=db_name, pool_timeout=pool_timeout)
        self._path = path

    def new_connection(self) -> sqlite3.Connection:
        """Return a connection that is not of the pool."""
        if _identity(self._path) in _carried:
            raise LogClosedError(
                f"{self._path} was in use when this process was forked, and cannot be used here: "
                "fork while nobody reads or writes it, or start a process of its own (spawn)",
                location=str(self._path),
            )
        connection = sqlite3.connect(
            self.db_name,
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=self.pool_timeout,
        )
        try:
            connection.row_factory = sqlite3.Row
            refuse_another_application(connection)
            _make_private(self._path)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            _use_wal(connection, self.pool_timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def retire(self) -> None:
        """Close all connections, those in use once they are given back."""
        with self._put_condition:
            while self._pool:
                self._pool.popleft().close()
            for connection in self._in_use.values():
                connection.closing_soon()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close all connections, those in use once they are given back.

        eventsourcing's pool closes those in use too: under a thread that uses one, that is a
        crash of the whole process.
        """
        with self._put_condition:
            if not self._closed:
                self.retire()
                self._closed = True

    def put_connection(self, conn: SQLiteConnection) -> None:
        """Take a connection back; once the pool is closed, close it."""
        with self._put_condition:
            if not self._closed:
                super().put_connection(conn)
                return
        is_writer = conn.is_writer
        conn.close()
        if is_writer:
            self._writer_lock.release()

    def _create_connection(self) -> SQLiteConnection:
        try:
            return _Connection(self.new_connection(), self.pool_timeout)
        except Exception as error:  # noqa: BLE001 - whoever uses the connection gets it
            return _FailedConnection(error)


class _Connection(SQLiteConnection):
    def __init__(self, connection: sqlite3.Connection, lock_timeout: float) -> None:
        super().__init__(connection, max_age=None)
        self.lock_timeout = lock_timeout

    @contextlib.contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        with _Transaction(self, commit=commit) as cursor, cursor:
            yield cursor

    def closing_soon(self) -> None:
        self._closing.set()


class _Transaction(SQLiteTransaction):
    connection: _Connection

    def __enter__(self) -> SQLiteCursor:
        if not self.commit:
            return super().__enter__()
        cursor = self.connection.cursor()
        _begin_to_write(cursor, self.connection.lock_timeout)
        return cursor


class _FailedConnection(_Connection):
    """Stands for a connection that could not be made, and says so when it is used.

    If making it raised at once, eventsourcing's pool would never unlock its writer lock.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(sqlite3.connect(":memory:"), lock_timeout=0)
        self._error = error
        self.closing_soon()

    def cursor(self) -> SQLiteCursor:
        raise self._error


class ForkedPool:
    """Stands where a pool was that belongs to the parent process."""

    def __init__(self, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse

    def get_connection(self, *_: object, **__: object) -> NoReturn:
        self._refuse()

    def new_connection(self) -> NoReturn:
        self._refuse()

    def close(self) -> None:
        pass


def make_file(path: Path) -> None:
    """Make the database's file before SQLite does, which would let others read it.

    A file that exists is not opened: that would drop the locks of a connection to it.
    """
    try:
        files.make_private_folder(path.parent)
        with _making, contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, files.MODE))
        for file in _files_of(path):
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(file).st_mode):
                    message = f"{file} is not a regular file: name the database itself"
                    raise NotAKeyturnLogError(message, location=str(path))
    except OSError as error:
        message = f"the log {path} cannot be opened: {error.strerror}"
        raise LogUnavailableError(message, location=str(path)) from error


def refuse_another_application(connection: sqlite3.Connection | sqlite3.Cursor) -> None:
    """Raise `NotAKeyturnLogError` if there are tables that are not ours."""
    # In this order: the first opener of all commits tables and id together.
    is_empty = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not is_empty:
        found = connection.execute("PRAGMA application_id").fetchone()[0]
        if found != APPLICATION_ID:
            raise NotAKeyturnLogError(
                "the log's place is the database of another application: choose another path"
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make_private(path: Path) -> None:
    for file in _files_of(path):
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.lstat(file).st_mode)
            if mode & 0o077:
                _narrow(file, mode)


def _narrow(file: Path, mode: int) -> None:
    try:
        os.chmod(file, files.MODE)
    except PermissionError as error:
        raise LogUnavailableError(
            f"{file} can be read by others (mode {mode:04o}), and this user may not change that: "
            "have its owner run chmod 600 on it"
        ) from error


def _files_of(path: Path) -> tuple[Path, Path, Path]:
    return path, Path(f"{path}-wal"), Path(f"{path}-shm")


def _begin_to_write(cursor: SQLiteCursor, timeout: float) -> None:
    """Lock the file for writing.

    SQLite itself would wait up to 0.1 s between its tries, and starve beside a process that
    writes without a pause.
    """
    deadline = time.monotonic() + timeout
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                return cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.0005, 0.003))  # noqa: S311
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to WAL; SQLite does not wait for other openers there, so we do."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    if mode != "wal" or connection.execute("PRAGMA synchronous").fetchone()[0] != 2:
        raise sqlite3.OperationalError("this place does not allow a write-ahead log")
