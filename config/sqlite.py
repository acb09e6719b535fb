"""A log in a SQLite file: the statements of the store, and what its rows look like.

Which connection they use is for `sqlite_access`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from array import array
from collections.abc import Collection, Generator, Iterable, Sequence
from uuid import UUID

from eventsourcing.persistence import IntegrityError, Notification, StoredEvent

from keyturn.config import sqlite_schema
from keyturn.config.sqlite_access import SQLiteAccess
from keyturn.domain.errors import LogDamagedError, LogError
from keyturn.domain.key_log import Row
from keyturn.domain.stored_events import validated

# Its rows are (0, position, topic, state); and one (1, position, id, whether the index leads to
# it) for the row that was written last, of any aggregate. That one is found without the index,
# so that an index which hides the newest row of an aggregate is noticed.
_EVENTS = """
SELECT * FROM (
    SELECT 0, originator_version, topic, state FROM stored_events
    WHERE originator_id = ?{bounds} ORDER BY originator_version {order} LIMIT ?
) UNION ALL SELECT * FROM (
    SELECT 1, originator_version, originator_id, EXISTS (
        SELECT 1 FROM stored_events AS found
        WHERE found.originator_id IS written.originator_id
        AND found.originator_version IS written.originator_version
    ) FROM stored_events AS written NOT INDEXED ORDER BY rowid DESC LIMIT 1
)"""
_ALL_ROWS = (
    "SELECT originator_id, originator_version, topic, state FROM stored_events ORDER BY rowid"
)
_NEWEST_ROWS = """
WITH RECURSIVE ids (id) AS (
    SELECT min(originator_id) FROM stored_events
    UNION ALL
    SELECT (SELECT min(originator_id) FROM stored_events WHERE originator_id > id)
    FROM ids WHERE id IS NOT NULL
)
SELECT id, originator_version, topic, state
FROM ids JOIN stored_events ON originator_id = id AND originator_version =
(SELECT max(originator_version) FROM stored_events WHERE originator_id = id)
WHERE EXISTS (SELECT 1 FROM stored_events WHERE originator_id = id AND +topic IN ({topics}))"""
_HAS_POSITION = "SELECT 1 FROM stored_events WHERE originator_id = ? AND originator_version = ?"
_INSERT = "INSERT INTO stored_events VALUES (?, ?, ?, ?)"
_WHAT_LIES = "its index disagrees with its table"
_LYING_INDEX = (
    f"the log was altered: {_WHAT_LIES}, as PRAGMA integrity_check shows; put back an "
    "unaltered copy"
)


class SQLiteStore(SQLiteAccess):
    """One SQLite file with the table `stored_events`, made if there is none.

    Args:
        path: where it lies.
        lock_timeout: seconds to wait for other writers, threads and processes together.

    Raises:
        LogError: something else lies there, or it cannot be opened.
        sqlite3.Error: SQLite says so.
    """

    # --- reading ---

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        name, bounds, values = _stored_name(originator_id), "", []
        for operator, bound in ((">", gt), ("<=", lte)):
            if bound is not None:
                bounds += f" AND originator_version {operator} ?"
                values.append(bound)
        sql = _EVENTS.format(bounds=bounds, order="DESC" if desc else "ASC")
        found = self._fetch(sql, (name, *values, -1 if limit is None else limit))
        rows = [validated(StoredEvent(originator_id, *row[1:])) for row in found if row[0] == 0]
        is_to_the_end = lte is None and (limit is None or len(rows) < limit or (desc and rows))
        newest = rows[0 if desc else -1].originator_version if rows else gt or 0
        for _, position, written_name, is_indexed in found[len(rows) :]:
            if written_name == name:
                validated(StoredEvent(originator_id, position, "", b""))
            if not is_indexed or (is_to_the_end and written_name == name and position > newest):
                raise LogDamagedError(_LYING_INDEX, what=_WHAT_LIES)
        return rows

    def numbered(
        self, first: int, last: int, topics: Sequence[str], limit: int
    ) -> Sequence[Notification]:
        wanted = f"AND +topic IN ({', '.join('?' * len(topics))})" if topics else ""
        rows = self._fetch(
            "SELECT rowid, originator_id, originator_version, topic, state FROM stored_events "  # noqa: S608
            f"WHERE rowid >= ? AND rowid <= ? {wanted} ORDER BY rowid LIMIT ?",
            (first, last, *topics, limit),
        )
        return [
            validated(Notification(_uuid_of(id_), position, topic, state, number))
            for number, id_, position, topic, state in rows
        ]

    def max_notification_id(self) -> int | None:
        [(number,)] = self._fetch("SELECT max(rowid) FROM stored_events")
        return None if number is None else int(number)

    def rows(self) -> Generator[Row, None, None]:
        with self._connection(self._deadline()) as connection:
            connection.database.check_schema(connection)
            for values in connection.execute(_ALL_ROWS):
                yield Row(*values)
                self._refuse_if_unusable(connection.database)

    def newest_rows(self, topics: Collection[str]) -> list[Row]:
        sql = _NEWEST_ROWS.format(topics=", ".join("?" * len(topics)))
        return [Row(*values) for values in self._fetch(sql, tuple(topics))]

    def unknown_topic(self, known: Collection[str]) -> str | None:
        select = "SELECT topic FROM stored_events WHERE topic {} ORDER BY topic LIMIT 1"
        found = self._fetch(select.format("IS NOT NULL"))
        while found:
            [(topic,)] = found
            if topic not in known:
                return str(topic)
            found = self._fetch(select.format("> ?"), (topic,))
        return None

    def schema_problems(self) -> list[str]:
        with self._connection(self._deadline()) as connection:
            try:
                lines = [str(problem) for problem in sqlite_schema.problems(connection)]
                lines += [str(line) for (line,) in connection.execute("PRAGMA integrity_check")]
            except sqlite3.DatabaseError as error:
                lines = [f"integrity_check failed: {error}"]
        return [line for line in lines if line != "ok"]

    # --- writing ---

    def insert(self, events: Iterable[StoredEvent], may_begin_anywhere: bool) -> Sequence[int]:
        with self._transaction() as connection:
            # Of an import there may be millions.
            return array("q", (_insert(connection, e, may_begin_anywhere) for e in events))

    def purge(self, last: StoredEvent) -> None:
        with self._transaction() as connection:
            _insert(connection, last)
            connection.execute(
                "DELETE FROM stored_events"
                " WHERE originator_id = ? AND originator_version IS NOT ?",
                (_stored_name(last.originator_id), last.originator_version),
            )
        with contextlib.suppress(sqlite3.Error, LogError):
            self._empty_wal()


def _insert(
    connection: sqlite3.Connection, event: StoredEvent, may_begin_anywhere: bool = False
) -> int:
    """Write a row in the open transaction, and return its number.

    Raises:
        IntegrityError: its position is taken, or the one before it is not there.
    """
    name, position = _stored_name(event.originator_id), event.originator_version
    begins = position == 1 or may_begin_anywhere
    if not begins and not connection.execute(_HAS_POSITION, (name, position - 1)).fetchone():
        raise IntegrityError(f"position {position - 1} of {name} is not there")
    try:
        written = connection.execute(_INSERT, (name, position, event.topic, event.state))
    except sqlite3.IntegrityError as error:
        raise IntegrityError(f"position {position} of {name} is taken") from error
    return written.lastrowid or 0


def _stored_name(originator_id: UUID | str) -> str:
    """Return the id of an aggregate as it is stored."""
    return originator_id.hex if isinstance(originator_id, UUID) else originator_id


def _uuid_of(stored: object) -> UUID:
    """Return the id of an aggregate that was stored; `LogDamagedError` if it is none."""
    try:
        return UUID(stored)  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError) as error:
        raise LogDamagedError("the log has a row of no aggregate: it was altered") from error
