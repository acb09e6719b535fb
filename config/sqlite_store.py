"""A log in a SQLite file: eventsourcing's recorder, made private, durable and recoverable."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, InfrastructureFactory
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteFactory,
)

from keyturn.config.wal_index import change_counter
from keyturn.domain import private_files
from keyturn.domain.errors import (
    LogClosedError,
    LogUnavailableError,
    LogVersionError,
    NotAKeyturnLogError,
)
from keyturn.domain.event_mapper import unknown_topic

APPLICATION_ID = 0x4B54524E
"""`PRAGMA application_id` of our files: "KTRN"."""

SCHEMA_VERSION = 1
_NOT_OURS = "(topic < 'keyturn.' OR topic >= 'keyturn/')"
_ALIEN_INDEX = (
    f"CREATE INDEX IF NOT EXISTS alien_topics ON stored_events(topic) WHERE {_NOT_OURS}"
)


class SQLiteStore:
    """One SQLite file with the table `stored_events`. `changes` is `KeyLog.changes`."""

    def __init__(self, path: Path, *, lock_timeout: float = 5.0) -> None:
        self._path = path.absolute()
        self._lock_timeout = lock_timeout
        self.location = str(path)
        self.changes: Callable[[], object] = self._not_open
        _prepare_file(self._path)
        self.factory: InfrastructureFactory[Any] = _Factory(self._open_datastore())
        _open_stores.add(self)

    def recorder(self) -> ApplicationRecorder:
        """Return the recorder, its table made if need be."""
        return self.factory.application_recorder()

    def refuse_alien_topics(self, host_topics: Collection[str]) -> None:
        """Raise `NotAKeyturnLogError` if there is a topic that is neither ours nor the host's.

        The partial index holds only rows that are not ours, so this does not grow with the log.
        """
        statement = (
            f"SELECT topic FROM stored_events WHERE {_NOT_OURS} AND topic > ? "  # noqa: S608
            "ORDER BY topic LIMIT 1"
        )
        topic = ""
        with self._datastore.transaction(commit=False) as cursor:
            while True:
                cursor.execute(statement, (topic,))
                row = cursor.fetchone()
                if row is None:
                    return
                topic = row[0]
                if topic not in host_topics:
                    raise unknown_topic(topic)

    def purge(self, originator_id: UUID) -> None:
        """Delete the rows of one aggregate; the pages that held them are overwritten."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "DELETE FROM stored_events WHERE originator_id = ?", (originator_id.hex,)
            )
        self._probe.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def reopen(self, recorder: ApplicationRecorder) -> None:
        """Give up all connections and open new ones: after an error nothing else is sure."""
        assert isinstance(recorder, SQLiteApplicationRecorder)
        self._close_connections()
        recorder.datastore = self._open_datastore()

    def close(self) -> None:
        """Close all connections. What is asked of the log later raises `LogClosedError`."""
        _open_stores.discard(self)
        self.changes = self._closed
        self._close_connections()

    def abandon_after_fork(self) -> None:
        """Leave the parent's connections alone: to use or to close them here loses its rows."""
        _abandoned.append((self._datastore, self._probe))
        self.changes = self._forked
        self._datastore.pool = _ForkedPool(self._forked)  # type: ignore[assignment]

    def _open_datastore(self) -> _Datastore:
        self._datastore = _Datastore(_uri(self._path), self._lock_timeout)
        self._probe = self._datastore.pool.new_connection()
        self.changes = change_counter(self._path, self._probe)
        return self._datastore

    def _close_connections(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._datastore.close()
        with contextlib.suppress(sqlite3.Error):
            self._probe.close()

    def _not_open(self) -> NoReturn:
        raise LogClosedError(f"{self.location} is not open", location=self.location)

    def _closed(self) -> NoReturn:
        message = f"{self.location} was closed: open it again"
        raise LogClosedError(message, location=self.location)

    def _forked(self) -> NoReturn:
        message = f"{self.location} was opened before a fork: open it again in this process"
        raise LogClosedError(message, location=self.location)


class _Pool(SQLiteConnectionPool):
    """Connections that commit durably.

    eventsourcing leaves WAL and FULL to SQLite's defaults; here they are set, and seen to be.
    """

    def _create_connection(self) -> SQLiteConnection:
        return SQLiteConnection(self.new_connection(), max_age=self.max_age)

    def new_connection(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.db_name,
            uri=True,
            check_same_thread=False,
            isolation_level=None,
            timeout=self.pool_timeout,
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            _use_wal(connection, self.pool_timeout)
        except BaseException:
            connection.close()
            raise
        return connection


class _ForkedPool:
    """Stands where a pool was that belongs to the parent process."""

    def __init__(self, refuse: Callable[[], NoReturn]) -> None:
        self._refuse = refuse

    def get_connection(self, *_: object, **__: object) -> NoReturn:
        self._refuse()

    def close(self) -> None:
        pass


class _Datastore(SQLiteDatastore):
    pool: _Pool

    def __init__(self, uri: str, lock_timeout: float) -> None:
        super().__init__(uri)
        self.pool = _Pool(db_name=uri, pool_timeout=lock_timeout)


class _Recorder(SQLiteApplicationRecorder):
    """eventsourcing's recorder, which makes its table in no database but ours."""

    def create_table(self) -> None:
        with self.datastore.transaction(commit=False) as cursor:
            if self._is_ours(cursor):
                return
        with self.datastore.get_connection(commit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")  # of several first openers one makes the table
            try:
                if not self._is_ours(cursor):
                    self._create_table(cursor)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _create_table(self, c: SQLiteCursor) -> None:
        c.execute("SELECT count(*) FROM sqlite_schema")
        if c.fetchone()[0]:
            raise NotAKeyturnLogError(
                "the log's place is the database of another application: choose another path"
            )
        super()._create_table(c)
        c.execute(_ALIEN_INDEX)
        c.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        c.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _is_ours(self, cursor: SQLiteCursor) -> bool:
        if _pragma(cursor, "application_id") != APPLICATION_ID:
            return False
        if _pragma(cursor, "user_version") > SCHEMA_VERSION:
            raise LogVersionError("the log was made by a newer Keyturn: install that version")
        return True


class _Factory(SQLiteFactory):
    application_recorder_class = _Recorder

    def __init__(self, datastore: SQLiteDatastore) -> None:
        InfrastructureFactory.__init__(self, {})
        self.datastore = datastore


def _prepare_file(path: Path) -> None:
    """Make the database's file before SQLite does, which would let others read it.

    A file that exists is never opened here: closing it would drop the locks of a connection
    that this process has to it already.
    """
    try:
        private_files.make_private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, private_files.MODE))
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(file)
                if not stat.S_ISREG(status.st_mode):
                    message = f"{file} is not a regular file: name the database itself"
                    raise NotAKeyturnLogError(message, location=str(path))
                if status.st_mode & 0o077:
                    os.chmod(file, private_files.MODE)
    except OSError as error:
        message = f"the log {path} cannot be opened: {error.strerror}"
        raise LogUnavailableError(message, location=str(path)) from error


def _pragma(cursor: SQLiteCursor, name: str) -> int:
    cursor.execute(f"PRAGMA {name}")
    return int(cursor.fetchone()[0])


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


def _uri(path: Path) -> str:
    return f"file:{quote(str(path))}?mode=rw"


_open_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
_abandoned: list[object] = []


def _abandon_all_after_fork() -> None:
    for store in list(_open_stores):
        store.abandon_after_fork()


os.register_at_fork(after_in_child=_abandon_all_after_fork)
