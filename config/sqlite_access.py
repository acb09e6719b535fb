"""Which connection a SQLite store uses, and when: for reading, for writing, after a doubt.

It knows nothing of the rows. What makes connections durable and tells whether their files are
still there is in `sqlite_database`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keyturn.config import sqlite_files
from keyturn.config.change_poller import PolledStore
from keyturn.config.sqlite_connection import Connection, when_free
from keyturn.config.sqlite_database import Database, refuse_after_fork
from keyturn.config.sqlite_read_only import open_database
from keyturn.config.store_errors import unavailable
from keyturn.domain.errors import LogClosedError, LogError, LogUnavailableError


class SQLiteAccess(PolledStore):
    """The database that is in use now, opened anew if need be: see `SQLiteStore`."""

    def __init__(self, path: Path, *, lock_timeout: float = 5.0) -> None:
        self.location = str(path)
        self._path = path.absolute()
        self._lock_timeout = lock_timeout
        self._is_closed = False
        self._opening = threading.RLock()
        self._writing = threading.RLock()
        self._begun: dict[int, Connection] = {}  # by the thread that began to write
        sqlite_files.make_file(self._path)
        self._database = open_database(self._path, self._deadline())

    @property
    def is_read_only(self) -> bool:  # type: ignore[override]
        """Whether it can only be read here; then nothing of it is ever written."""
        return self._database.is_read_only

    # --- reading ---

    def _fetch(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement; within `exclusive` what its writer sees."""
        begun = self._begun.get(threading.get_ident())
        if begun is not None:
            return begun.execute(sql, values).fetchall()
        deadline = self._deadline()
        with self._connection(deadline) as connection:
            read = partial(connection.database.read, connection, sql, values)
            rows = when_free(read, deadline)
        self._poller.make_sure_it_runs()
        return rows

    @contextlib.contextmanager
    def _connection(self, deadline: float) -> Iterator[Connection]:
        """Give a connection of the database that is in use now, opened anew if need be."""
        connection = self._take(deadline)
        try:
            yield connection
        except BaseException:
            connection.database.give_up(connection)
            raise
        connection.database.give_back(connection)

    # --- writing ---

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._turn_to_write() as deadline, self._connection(deadline) as connection:
            if connection.database.is_read_only:
                why = "it is read-only here; let this user write to it"
                raise unavailable(self.location, why)
            when_free(partial(connection.execute, "BEGIN IMMEDIATE"), deadline)
            try:
                connection.database.check_schema(connection)
                self._begun[threading.get_ident()] = connection
                yield
            finally:
                self._end(connection)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Write in the block, and commit at its end."""
        begun = self._begun.get(threading.get_ident())
        with contextlib.nullcontext() if begun else self.exclusive():
            connection = self._begun[threading.get_ident()]
            try:
                yield connection
                self._refuse_if_displaced(connection.database, recorded=False)
                connection.execute("COMMIT")
                self._refuse_if_displaced(connection.database, recorded=None)
            finally:
                self._end(connection)

    @contextlib.contextmanager
    def _turn_to_write(self) -> Iterator[float]:
        """Keep other threads from writing in the block; give the deadline for other processes."""
        deadline = self._deadline()
        self._refuse_if_unusable(self._database)
        if not self._writing.acquire(timeout=self._lock_timeout):
            why = "other threads have kept it busy for too long; try again"
            raise unavailable(self.location, why, is_busy=True)
        try:
            yield deadline
        finally:
            self._writing.release()

    def _end(self, connection: Connection) -> None:
        """Take back what this thread has written and not committed."""
        self._begun.pop(threading.get_ident(), None)
        if not connection.database.is_abandoned:
            connection.rollback()

    def _refuse_if_displaced(self, database: Database, *, recorded: bool | None) -> None:
        """Refuse what was written to files that are not those at the path any more."""
        try:
            if not database.look():
                why = "its files were removed while it was open; it is opened anew: try again"
                raise unavailable(self.location, why)
        except LogUnavailableError as error:
            error.recorded = recorded
            raise

    def _empty_wal(self) -> bool:
        """Write all of the WAL into the database; return whether that was possible."""
        with self._turn_to_write() as deadline, self._connection(deadline) as connection:
            if connection.database.is_read_only:
                return False
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not is_busy

    # --- changes ---

    def changes(self) -> object:
        database = self._database
        if time.monotonic() > database.look_at:
            self._refuse_if_unusable(database)
            if database.is_retired or not database.look():
                return object()  # and whoever reads then opens it anew
        return database.era, database.count()

    # --- opening and closing ---

    def reopen(self) -> bool:
        """Give up all connections and open new ones: after an error nothing else is sure.

        Returns:
            Whether what the log holds now is final. A commit that failed may lie in the WAL
            unseen, and come back in a recovery: emptying the WAL sees to it that it does not.
        """
        self._refuse_if_unusable(self._database)
        self._database.retire()
        return self._empty_wal()

    def close(self) -> None:
        self._is_closed = True
        database, is_in_place = self._database, False
        with contextlib.suppress(LogError):
            is_in_place = database.look()
        database.retire(tidily=is_in_place)
        sqlite_files.forget_removed_files()

    def _deadline(self) -> float:
        return time.monotonic() + self._lock_timeout

    def _take(self, deadline: float) -> Connection:
        """Return a connection of the database that is in use now, opened anew if need be."""
        while True:
            database = self._database
            self._refuse_if_unusable(database)
            if not database.is_retired and database.look():
                connection = database.take(deadline)
                if not database.is_retired:
                    return connection
                database.give_back(connection)
            with self._opening:  # for no longer than the deadline of who is in it
                if self._database is database:
                    database.retire()
                    self._database = open_database(self._path, deadline)
            if self._is_closed:
                self._database.retire(tidily=True)

    def _refuse_if_unusable(self, database: Database) -> None:
        if database.is_abandoned:
            refuse_after_fork(self.location)
        if self._is_closed:
            message = f"{self.location} was closed: open it again"
            raise LogClosedError(message, location=self.location)
