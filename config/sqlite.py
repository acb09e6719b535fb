"""A log in a SQLite file: eventsourcing's recorder, made private, durable and recoverable."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    Notification,
    StoredEvent,
)
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteCursor, SQLiteFactory

from keyturn.config import forks
from keyturn.config.change_poller import ChangePoller
from keyturn.config.forks import using_sqlite
from keyturn.config.sqlite_connections import (
    APPLICATION_ID,
    Datastore,
    ForkedPool,
    make_file,
    refuse_another_application,
)
from keyturn.config.stored_rows import check_topics, sound
from keyturn.config.wal_index import change_counter, forget_removed_files
from keyturn.domain.errors import (
    LogClosedError,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    LogVersionError,
)
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import EVENT_CLASSES

SCHEMA_VERSION = 1
_LOOK_AT_PLACE_EVERY = 0.1  # seconds: a look costs ten times as much as counting changes
_ALL_ROWS = (
    "SELECT originator_id, originator_version, topic, state FROM stored_events ORDER BY rowid"
)
_NOT_OURS = f"topic NOT IN ({', '.join(repr(topic) for topic in EVENT_CLASSES)})"
_ALIEN_INDEX = (
    f"CREATE INDEX IF NOT EXISTS alien_topics ON stored_events(topic) WHERE {_NOT_OURS}"
)


class SQLiteStore:
    """One SQLite file with the table `stored_events`. `changes` is `KeyLog.changes`."""

    is_server = False
    """A commit whose flush failed can be read here, and be gone after a power cut."""

    def __init__(self, path: Path, *, lock_timeout: float = 5.0) -> None:
        self._path = path.absolute()
        self._lock = threading.Lock()
        self._probe_lock = threading.Lock()
        self._readers: set[sqlite3.Connection] = set()
        self._is_forked = False
        self._has_connections = True
        self.location = str(path)
        self.changes: Callable[[], object] = self._not_open
        self.watch = ChangePoller(self._changes_now).watch
        with using_sqlite():
            make_file(self._path)
            self._datastore = Datastore(self._path, lock_timeout)
            self._probe, count = self._open_probe()
            self._look_at(count)
            forks.guard(self)
        self.factory: InfrastructureFactory[Any] = _Factory(self._datastore)

    def recorder(self) -> ApplicationRecorder:
        """Return the recorder, its table made if need be."""
        return self.factory.application_recorder()

    def refuse_alien_topics(self, host_topics: Collection[str]) -> None:
        """Raise `NotAKeyturnLogError` if there is a topic that is neither ours nor the host's."""
        select = f"SELECT topic FROM stored_events WHERE {_NOT_OURS}"  # noqa: S608
        with self._datastore.transaction(commit=False) as cursor:

            def first_behind(topic: str | None) -> str | None:
                behind = "" if topic is None else " AND topic > ?"
                values = () if topic is None else (topic,)
                cursor.execute(f"{select}{behind} ORDER BY topic LIMIT 1", values)
                row = cursor.fetchone()
                return None if row is None else row[0]

            check_topics(first_behind, host_topics)

    def rows(self) -> Iterator[Row]:
        """Yield every row, in one read transaction of a connection of its own."""
        with using_sqlite():
            connection = self._datastore.pool.new_connection()
            self._readers.add(connection)
        try:
            with using_sqlite():
                connection.row_factory = None
                connection.text_factory = _text_or_bytes
                selected = connection.execute(_ALL_ROWS)
            while True:
                with using_sqlite():
                    values = self._forked() if self._is_forked else next(selected, None)
                if values is None:
                    return
                yield Row(*values)
        finally:
            if not self._is_forked:
                with using_sqlite():
                    connection.close()
                    self._readers.discard(connection)

    def alone(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block."""
        return self._datastore.alone()

    def purge(self, originator_id: UUID) -> None:
        """Delete the rows of one aggregate; the pages that held them are overwritten."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "DELETE FROM stored_events WHERE originator_id = ?", (originator_id.hex,)
            )
        with (
            using_sqlite(),
            self._lock,
            self._probe_lock,
            contextlib.suppress(sqlite3.Error),
        ):
            self._probe.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def reopen(self) -> bool:
        """Give up all connections and open new ones: after an error nothing else is sure.

        Returns:
            Whether what the log holds now is final. A commit that failed may lie in the WAL
            unseen, and come back in a recovery: emptying the WAL sees to it that it does not.
        """
        with using_sqlite(), self._lock:
            if self.changes in (self._closed, self._forked):
                return False
            self._let_go()
            self._watch_again()
            with self._probe_lock:
                is_busy, *_ = self._probe.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not is_busy

    def stop_soon(self) -> None:
        """There is no thread that nobody else ends."""

    def close(self) -> None:
        """Close all connections. What is asked of the log later raises `LogClosedError`."""
        if self._is_forked:
            return  # the connections are the parent's
        with using_sqlite(), self._lock:
            self.changes = self._closed
            with contextlib.suppress(sqlite3.Error):
                self._datastore.close()
            with self._probe_lock, contextlib.suppress(sqlite3.Error):
                self._probe.close()
            forget_removed_files()

    def before_fork(self) -> None:
        """Close all connections but those in use."""
        with self._lock:
            if self.changes != self._closed:
                self._let_go()
            forget_removed_files()
        self._has_connections = bool(self._readers or self._datastore.pool.num_in_use)

    def go_on_after_fork(self) -> None:
        """Open connections again when they are needed."""
        self._has_connections = True

    def abandon_after_fork(self) -> None:
        """Leave the parent's connections alone: to use or to close them here loses its rows."""
        if self._has_connections:
            self._datastore.carry_over_fork()
        forks.keep_for_ever(self._datastore.pool, self._probe, self._readers)
        # Other threads of the parent may hold the old ones.
        self._lock, self._probe_lock = threading.Lock(), threading.Lock()
        self._is_forked = True
        if self.changes != self._closed:
            self.changes = self._forked
        self._datastore.pool = ForkedPool(self._forked)  # type: ignore[assignment]

    def _let_go(self) -> None:
        self.changes = self._changes_without_probe
        self._datastore.pool.retire()
        with self._probe_lock, contextlib.suppress(sqlite3.Error):
            self._probe.close()

    def _open_probe(self) -> tuple[sqlite3.Connection, Callable[[], object]]:
        probe = self._datastore.pool.new_connection()
        self._datastore.note_place()
        return probe, change_counter(self._path, probe, self._probe_lock)

    def _watch_again(self) -> None:
        self._probe, count = self._open_probe()
        # Nobody counted meanwhile, so what the counter says now must be unlike all it said.
        era = object()
        self._look_at(lambda: (era, count()))

    def _look_at(self, count: Callable[[], object]) -> None:
        """Make `count` what `changes` says, as long as the file stays where it is.

        A file that is put in its place is another log, which our connections do not see.
        """
        is_in_place, monotonic, due = self._datastore.is_in_place, time.monotonic, 0.0

        def changes() -> object:
            nonlocal due
            now = monotonic()
            if now > due:
                due = now + _LOOK_AT_PLACE_EVERY
                if not is_in_place():
                    due = now  # until it is back
                    raise displaced(self.location)
            return count()

        self.changes = changes

    def _changes_without_probe(self) -> object:
        """Stand for `changes` until the file can be opened again: whoever asks has to read."""
        suppressed = contextlib.suppress(sqlite3.Error, OSError, LogError)
        with using_sqlite(), self._lock, suppressed:
            if self.changes == self._changes_without_probe:
                self._watch_again()
        return object()

    def _changes_now(self) -> object:
        return self.changes()

    def _not_open(self) -> NoReturn:
        raise LogClosedError(f"{self.location} is not open", location=self.location)

    def _closed(self) -> NoReturn:
        message = f"{self.location} was closed: open it again"
        raise LogClosedError(message, location=self.location)

    def _forked(self) -> NoReturn:
        forks.refuse_after_fork(self.location)


class _Recorder(SQLiteApplicationRecorder):
    """eventsourcing's recorder, which makes its table in no database but ours.

    SQLite stores values of any type in any column, so it looks at the types of what it reads.
    """

    datastore: Datastore

    def select_events(self, *args: Any, **kwargs: Any) -> list[StoredEvent]:
        return [sound(row) for row in super().select_events(*args, **kwargs)]

    def select_notifications(self, *args: Any, **kwargs: Any) -> Sequence[Notification]:
        try:
            return [sound(row) for row in super().select_notifications(*args, **kwargs)]
        except (ValueError, TypeError, AttributeError) as error:  # from UUID()
            raise LogDamagedError("the log has a row of no aggregate: it was altered") from error

    def _insert_events(
        self, c: SQLiteCursor, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        if not self.datastore.is_in_place():
            raise displaced(self.datastore.location)
        return super()._insert_events(c, stored_events, **kwargs)

    def create_table(self) -> None:
        with self.datastore.transaction(commit=False) as cursor:
            if self._is_ours(cursor):
                return
        with self.datastore.get_connection(commit=True) as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")  # of several first openers one makes the table
            try:
                refuse_another_application(cursor.sqlite_cursor)
                if not self._is_ours(cursor):
                    self._create_table(cursor)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def _create_table(self, c: SQLiteCursor) -> None:
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

    def __init__(self, datastore: Datastore) -> None:
        InfrastructureFactory.__init__(self, {})
        self.datastore = datastore


def displaced(location: str) -> LogUnavailableError:
    """Return the error for a log whose file is not there any more, or is another one."""
    message = (
        f"the log {location} was removed or replaced while it was open: put the file back, or "
        "open the log again"
    )
    try:
        os.stat(location)
    except PermissionError as error:
        message = (
            f"the log {location} is open, but this user may not look at it any more "
            f"({error.strerror}): give the permission back"
        )
    except OSError:
        pass  # it was removed
    return LogUnavailableError(message, location=location, recorded=False)


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


def _pragma(cursor: SQLiteCursor, name: str) -> int:
    cursor.execute(f"PRAGMA {name}")
    return int(cursor.fetchone()[0])
