"""The SQLite file of a log, with all connections that were made to it at one time.

A `Database` is never mended: when something about its files or connections is in doubt, or the
process forks, it is retired, and another one is opened in its place. No lock is held while
something is read.

A connection that two processes use loses rows, so a forked child never touches those it got.
With SQLite that is not enough. It believes that a child holds the locks of its parent, which it
does not: in the child, connections to the same file, new ones too, then read and write without
locks. So before a fork all connections are closed. Where one is in use for longer than a
moment, the child is told not to open that file.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from keyturn.config import sqlite_files, sqlite_schema
from keyturn.config.sqlite_connection import Connection, fork_lock, when_free
from keyturn.config.sqlite_files import Inode
from keyturn.config.sqlite_schema import pragma
from keyturn.config.store import SCHEMA_VERSION
from keyturn.config.store_errors import unavailable
from keyturn.domain.errors import LogClosedError, LogError, LogUnavailableError

_LOOK_EVERY = 0.1  # seconds: a look at the files costs twenty times as much as counting changes
_LONGEST_FORK = 0.2  # seconds that a fork waits for all that is in use, in all
_MOST_IDLE = 4  # connections that wait for the next user

_Known = TypeVar("_Known")

_databases: weakref.WeakValueDictionary[int, Database] = weakref.WeakValueDictionary()
_carried: set[Inode] = set()  # the files to which this process has connections of its parent's
_leaked: list[object] = []


class Database:
    """The file of a log, and all connections to it that were made at one time.

    Args:
        path: where it lies, and must be.
        deadline: until when to wait for others, by the monotonic clock.

    Attributes:
        idle: connections that nobody uses; for reading and, one thread at a time, for writing.
        is_retired: it gives out no connection any more.
        is_abandoned: its connections are to be left alone: this is a child of their process.
        look_at: when to look at the files again, by the monotonic clock.
        era: what another database says of changes is unlike all that this one says.
        count: returns a value that differs after any commit.
    """

    is_read_only = False
    _mode = "mode=rw"

    def __init__(self, path: Path, deadline: float) -> None:
        self.path = self.file = path
        self.inode: Inode | None = None
        self.idle: list[Connection] = []
        self.is_retired = self.is_abandoned = False
        self.look_at = -math.inf
        self.era = object()
        self.count: Callable[[], object] = object
        self.connections: weakref.WeakValueDictionary[int, Connection]
        self.connections = weakref.WeakValueDictionary()
        self._process = os.getpid()
        self._shm = sqlite_files.files_of(path)[2]
        self._wal_index: Inode | None = None
        self._keeper: list[Connection] = []
        self._schema: int | None = None
        _databases[id(self)] = self
        try:
            self._open(deadline)
        except BaseException:
            self.idle = [c for c in _alive(self.connections) if c not in self._keeper]
            self.retire()
            raise

    def _open(self, deadline: float) -> None:
        self.inode = sqlite_files.inode(self.path)
        self._close_displaced(deadline)
        if self.inode in _carried:
            raise LogClosedError(
                f"{self.path} was in use when this process was forked, or closed all its "
                "descriptors, and cannot be used here: close it before, or start a process of "
                "its own (spawn)",
                location=str(self.path),
            )
        with fork_lock:  # a fork that waits for the first keeps no second one from being made
            first, keeper = Connection(self, "mode=rw"), Connection(self, "mode=ro")
        self._configured(first, deadline)
        # It keeps the WAL-index in place whatever becomes of the others; and it cannot write,
        # so that SQLite leaves the WAL alone when it is closed last.
        self._keeper.append(self._configured(keeper, deadline))
        when_free(lambda: self.check_schema(first), deadline)
        self._wal_index = sqlite_files.inode(self._shm)
        if self._wal_index is None:  # SQLite uses one that was removed
            raise _in_doubt(self.path)
        self.count = sqlite_files.header_reader(self._shm)
        self.idle.append(first)

    def connect(self, deadline: float) -> Connection:
        """Return a new connection."""
        return self._configured(Connection(self, self._mode), deadline)

    def _configured(self, connection: Connection, deadline: float) -> Connection:
        try:
            when_free(lambda: self._configure(connection), deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: Connection) -> None:
        version = sqlite_schema.version(connection)  # it leaves a stranger's database alone
        sqlite_files.make_private(self.path)
        if pragma(connection, "journal_mode") != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        durable = (pragma(connection, "journal_mode"), pragma(connection, "synchronous"))
        if durable != ("wal", 2):
            why = "its place allows no write-ahead log; choose a local disk"
            raise unavailable(self.path, why, recorded=None)
        if version < SCHEMA_VERSION:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                sqlite_schema.prepare(connection)

    # --- using connections ---

    def take(self, deadline: float) -> Connection:
        """Return an idle connection or a new one."""
        try:
            return self.idle.pop()
        except IndexError:
            return self.connect(deadline)

    def give_back(self, connection: Connection) -> None:
        """Have the next user take it."""
        self.idle.append(connection)
        if self.is_retired:
            self.retire()
        else:
            _close(self.idle, _MOST_IDLE)

    def give_up(self, connection: Connection) -> None:
        """Close a connection that is in doubt."""
        connection.close()
        if self.is_retired:
            self.retire()

    def read(
        self, connection: Connection, sql: str, values: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, while the schema is as it must be."""
        with connection:
            connection.execute("BEGIN")
            self.check_schema(connection)
            return connection.execute(sql, values).fetchall()

    def check_schema(self, connection: Connection) -> None:
        """Look at the schema if it changed since the last look.

        Raises: what `sqlite_schema.check` raises.
        """
        schema = pragma(connection, "schema_version")
        if schema != self._schema:
            sqlite_schema.check(connection)
            self._schema = schema

    # --- noticing changes ---

    def look(self) -> bool:
        """Return whether the files are still those that were opened; if not, this is retired.

        Raises:
            LogUnavailableError: the database itself was removed or replaced.
        """
        if os.getpid() != self._process:  # forked by something that Python does not know of
            self.abandon()
            refuse_after_fork(self.path)
        if sqlite_files.inode(self.path) != self.inode:
            raise sqlite_files.displaced(self.path)
        is_in_place = self._wal_index in (None, sqlite_files.inode(self._shm))
        self.look_at = time.monotonic() + _LOOK_EVERY
        if self.is_retired or not is_in_place:
            self._stop()
        return is_in_place

    # --- the end ---

    def retire(self, *, tidily: bool = False) -> bool:
        """Give out no connection any more, and close those that nobody uses.

        Args:
            tidily: write all of the WAL into the database if no other process has it open.

        Returns:
            Whether no connection is left.
        """
        self._stop()
        if sqlite_files.descriptors_are_closed():
            self.abandon()  # SQLite would close files that are somebody else's by now
        if self.is_abandoned:
            return True
        if tidily:
            _close(self._keeper)
        _close(self.idle)
        if _alive(self.connections) == self._keeper:
            _close(self._keeper)
        return not _alive(self.connections)

    def abandon(self) -> None:
        """Leave connections alone that are the parent's: to use or close them loses its rows."""
        self._process = os.getpid()
        self.is_abandoned = True
        self._stop()
        left = _alive(self.connections)
        if left and self.inode is not None:
            _carried.add(self.inode)
        _leaked.extend((self, left))

    def _stop(self) -> None:
        self.is_retired = True
        self.look_at = -math.inf
        self.count = object  # lets go of the map

    def _close_displaced(self, deadline: float) -> None:
        """Have everybody in this process let go of a WAL-index that was removed.

        SQLite would give it to new connections, too, as long as one is left.

        Raises:
            LogUnavailableError: somebody still reads.
        """
        displaced = []
        for other in _alive(_databases):
            with contextlib.suppress(LogError):
                if other.inode == self.inode and not other.look():
                    displaced.append(other)
        if not _retire(displaced, deadline):
            raise _in_doubt(self.path)  # a host's own connection, or a long read


def refuse_after_fork(location: object) -> NoReturn:
    """Raise the error for who uses a log that was opened before a fork."""
    message = f"{location} was opened before a fork: open it again in this process"
    raise LogClosedError(message, location=str(location))


def _close(connections: list[Connection], most: int = 0) -> None:
    """Close them until there are no more than so many; each is closed by one thread alone."""
    while len(connections) > most:
        with contextlib.suppress(IndexError):  # another thread has taken it
            connections.pop().close()


def _in_doubt(path: Path) -> LogUnavailableError:
    return LogUnavailableError(
        f"the log {path} is being opened anew, because its files were removed or the process "
        "forks, and something in this process still uses them: end that, and try again",
        location=str(path),
        recorded=False,
        is_busy=True,
    )


def _alive(known: weakref.WeakValueDictionary[int, _Known]) -> list[_Known]:
    """Return what is alive; `valuerefs` copies in one step, whatever other threads add."""
    found = [reference() for reference in known.valuerefs()]
    return [one for one in found if one is not None]


def _retire(databases: list[Database], deadline: float) -> bool:
    """Retire them, and wait for those who use them; return whether no connection is left."""
    while _in_use(databases) and time.monotonic() < deadline:
        time.sleep(0.0005)
    if _in_use(databases):
        gc.collect()  # a read that a signal handler interrupted may have left its connection
    return not _in_use(databases)


def _in_use(databases: list[Database]) -> list[Database]:
    return [database for database in databases if not database.retire()]


def _before_fork() -> None:
    fork_lock.acquire()
    _retire(_alive(_databases), time.monotonic() + _LONGEST_FORK)


def _after_in_child() -> None:
    for database in _alive(_databases):
        database.abandon()
    fork_lock.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=fork_lock.release, after_in_child=_after_in_child
)
