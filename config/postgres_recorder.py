"""eventsourcing's recorder of a PostgreSQL log: its table, and how events get in and out."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    Notification,
    StoredEvent,
)
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composed, Identifier, Literal

from keyturn.config.listener import LogListener
from keyturn.config.postgres_datastore import Datastore
from keyturn.config.stored_rows import sound
from keyturn.domain.errors import LogDamagedError, LogVersionError, NotAKeyturnLogError
from keyturn.domain.session_keys import EVENT_CLASSES

TABLE = "keyturn_events"
SCHEMA_VERSION = 1

_MARK = "Keyturn log, schema "
"""The comment of the table: it tells ours from another application's."""

_ROWS_A_SECOND = 1000  # that a slow server surely writes


class Recorder(PostgresApplicationRecorder):
    """eventsourcing's recorder, which makes its table where there is none, and no other."""

    datastore: Datastore

    def __init__(self, datastore: Datastore, listener: LogListener) -> None:
        super().__init__(datastore, events_table_name=TABLE)
        self._listener = listener
        table = Identifier(datastore.schema, TABLE)
        # Writers wait for each other, so that the order of ids is that of commits. LOCK TABLE
        # does it too, but needs the right to change and delete rows.
        self._lock = SQL("SELECT pg_advisory_xact_lock({})").format(
            Literal(lock_number(datastore.schema))
        )
        # One statement and so one round trip. The library's pipeline hangs for ever if the
        # events are larger than what the socket takes at once.
        self._insert = SQL(
            "WITH turn AS MATERIALIZED (SELECT ({}), pg_notify({}, ''))"
            " INSERT INTO {} (originator_id, originator_version, topic, state) SELECT event.*"
            " FROM turn, unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[]) AS event"
            " RETURNING notification_id"
        ).format(self._lock, Literal(TABLE), table)

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **_: Any
    ) -> Sequence[int] | None:
        if not stored_events:
            return []
        values = zip(
            *((e.originator_id, e.originator_version, e.topic, e.state) for e in stored_events),
            strict=True,
        )
        with self.datastore.get_connection() as connection:
            connection.reply_limit += len(stored_events) / _ROWS_A_SECOND
            found = connection.execute(self._insert, [list(column) for column in values])
        self._listener.announce()  # so that it counts here before the server tells us
        return [row["notification_id"] for row in found]

    def select_events(self, *args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        with _noticing_empty_states():
            return [sound(row) for row in super().select_events(*args, **kwargs)]

    def select_notifications(self, *args: Any, **kwargs: Any) -> Sequence[Notification]:
        with _noticing_empty_states():
            return [sound(row) for row in super().select_notifications(*args, **kwargs)]

    def create_table(self) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            if not self._is_there(cursor):
                cursor.execute(self._lock)  # of several first openers one makes the table
                if not self._is_there(cursor):
                    self._create_table(cursor)

    def _create_table(self, curs: Cursor[DictRow]) -> None:
        table = Identifier(self.datastore.schema, TABLE)
        for statement in self.sql_create_statements:
            # Types and functions would take the place of another application's.
            if statement.as_string().startswith(("CREATE TABLE", "CREATE UNIQUE INDEX")):
                curs.execute(statement)
        curs.execute(
            SQL("CREATE INDEX {} ON {} (topic) WHERE {}").format(
                Identifier(f"{TABLE}_alien_topics"), table, not_ours()
            )
        )
        mark = Literal(f"{_MARK}{SCHEMA_VERSION}")
        curs.execute(SQL("COMMENT ON TABLE {} IS {}").format(table, mark))

    def _is_there(self, cursor: Cursor[DictRow]) -> bool:
        """Return whether our table is there; raise if another one is."""
        found = cursor.execute(
            "SELECT coalesce(obj_description(c.oid, 'pg_class'), '') AS mark FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            (self.datastore.schema, TABLE),
        ).fetchone()
        if found is None:
            return False
        mark, _, version = found["mark"].rpartition(" ")
        if f"{mark} " != _MARK or not version.isdecimal():
            raise NotAKeyturnLogError(
                f"the table {self.datastore.schema}.{TABLE} is another application's: choose "
                "another schema (options=-csearch_path%3DNAME in the URL) or database"
            )
        if int(version) > SCHEMA_VERSION:
            raise LogVersionError("the log was made by a newer Keyturn: install that version")
        return True


class Factory(PostgresFactory):
    """Makes the recorder; the library's would read its settings from the environment."""

    def __init__(self, datastore: Datastore, listener: LogListener) -> None:
        InfrastructureFactory.__init__(self, {})
        self.datastore = self._datastore = datastore
        self._listener = listener

    def application_recorder(self) -> ApplicationRecorder:
        recorder = Recorder(self._datastore, self._listener)
        recorder.create_table()
        return recorder


@contextlib.contextmanager
def _noticing_empty_states() -> Iterator[None]:
    try:
        yield
    except TypeError as error:  # from bytes()
        raise LogDamagedError("the log has a row without a state: it was altered") from error


def not_ours() -> Composed:
    """Return the condition that a row is of a topic that is not ours."""
    return SQL("topic NOT IN ({})").format(SQL(", ").join(map(Literal, EVENT_CLASSES)))


def lock_number(schema: str) -> int:
    """Return the number of the lock that writers to the log in a schema take."""
    number = hashlib.sha256(f"keyturn log {schema}".encode()).digest()[:8]
    return int.from_bytes(number, "big", signed=True)
