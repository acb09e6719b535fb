"""A log in a PostgreSQL database: eventsourcing's recorder, made durable and recoverable.

Its table is append-only for the role that runs a service: it needs SELECT and INSERT alone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn
from uuid import UUID

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

from keyturn.config import forks
from keyturn.config.log_listener import REMOVAL, LogListener
from keyturn.config.postgres_connections import Datastore, Pool
from keyturn.config.stored_rows import sound
from keyturn.domain.errors import (
    LogClosedError,
    LogDamagedError,
    LogVersionError,
    NotAKeyturnLogError,
)
from keyturn.domain.event_mapper import unknown_topic
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import EVENT_CLASSES

TABLE = "keyturn_events"
SCHEMA_VERSION = 1

_MARK = "Keyturn log, schema "
"""The comment of the table: it tells ours from another application's."""

_PAGE = 500
_ROWS_A_SECOND = 1000  # that a slow server surely writes


class PostgresStore:
    """One table of a PostgreSQL database. `changes` is `KeyLog.changes`.

    Args:
        url: of the database, as libpq has it.
        patience: seconds to wait for a connection or a lock.
        max_staleness: seconds for which what was heard of the log counts; 0: not at all.
        pool_size: how many connections may be in use at once; one more listens.
    """

    is_server = True
    """What it says of a commit is so, and what can be read was flushed before."""

    def __init__(
        self, url: str, *, patience: float, max_staleness: float, pool_size: int
    ) -> None:
        self._pool = Pool(url, pool_size, patience)
        self.location = self._pool.location
        self.changes: Callable[[], object] = self._not_open
        try:
            self._datastore = Datastore(self._pool)
        except BaseException:
            self._pool.close()
            raise
        table = Identifier(self._datastore.schema, TABLE)
        self._table = table
        self._is_forked = False
        self._declare_rows = SQL(
            "DECLARE rows CURSOR FOR SELECT originator_id AS id, originator_version AS position,"
            " topic, state FROM {} ORDER BY notification_id"
        ).format(table)
        self.listener = LogListener(
            lambda limit: self._pool.connect(min(limit, self._pool.reply_limit)),
            listen=SQL("LISTEN {}").format(Identifier(TABLE)),
            head=SQL(
                "SELECT notification_id, xmin::text FROM {} ORDER BY notification_id DESC LIMIT 1"
            ).format(table),
            max_staleness=max_staleness,
        )
        self.changes = self.listener.changes
        self.watch: Callable[[Callable[[], None]], Callable[[], None]] = self.listener.watch
        self.factory: InfrastructureFactory[Any] = _Factory(self._datastore, self.listener)
        forks.guard(self)

    def recorder(self) -> ApplicationRecorder:
        """Return the recorder, its table made if need be."""
        return self.factory.application_recorder()

    def refuse_alien_topics(self, host_topics: Collection[str]) -> None:
        """Raise `NotAKeyturnLogError` if there is a topic that is neither ours nor the host's.

        The partial index holds only rows that are not ours, so this does not grow with the log.
        """
        select = SQL("SELECT topic FROM {} WHERE {}").format(self._table, _not_ours())
        next_one = SQL(" ORDER BY topic LIMIT 1")
        with self._datastore.get_connection() as connection:
            row = connection.execute(select + next_one).fetchone()
            while row is not None:
                topic = row["topic"]
                if topic not in host_topics:
                    raise unknown_topic(topic)
                behind = select + SQL(" AND topic > %s") + next_one
                row = connection.execute(behind, (topic,)).fetchone()

    def rows(self) -> Iterator[Row]:
        """Yield every row, in one read transaction of a connection of its own."""
        connection = self._datastore.new_connection()
        try:
            with self._datastore.explaining():
                # Who reads may pause for as long as it likes: nobody waits for that.
                connection.execute("SET idle_in_transaction_session_timeout = 0")
                connection.execute("BEGIN READ ONLY")
                connection.execute(self._declare_rows)
            while True:
                if self._is_forked:
                    self._forked()
                with self._datastore.explaining():
                    page = connection.execute(f"FETCH {_PAGE} FROM rows").fetchall()
                for row in page:
                    yield Row(row["id"].hex, row["position"], row["topic"], row["state"])
                if len(page) < _PAGE:
                    return
        finally:
            if not self._is_forked:
                connection.close()

    def alone(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block."""
        return self._datastore.holding(_lock_number(self._datastore.schema))

    def purge(self, originator_id: UUID) -> None:
        """Delete the rows of one aggregate; VACUUM overwrites them in its time."""
        with self._datastore.transaction(commit=True) as cursor:
            cursor.execute(
                SQL("DELETE FROM {} WHERE originator_id = %s").format(self._table),
                (originator_id,),
            )
            cursor.execute("SELECT pg_notify(%s, %s)", (TABLE, REMOVAL))
        self.listener.announce()

    def reopen(self) -> bool:
        """Give up the connections that nobody uses: after an error nothing else is sure.

        Returns:
            False: a server that hangs may yet carry out what it was sent.
        """
        self._pool.retire()
        self.listener.announce()
        return False

    def close(self) -> None:
        """Close all connections. What is asked of the log later raises `LogClosedError`."""
        forks.no_longer_guard(self)
        if self._is_forked:
            return  # the connections are the parent's
        self.changes = self.watch = self._closed
        self.listener.close()
        self._pool.close()

    def before_fork(self) -> None:
        """Nothing of it harms a child that leaves it alone."""

    def go_on_after_fork(self) -> None:
        """It never stopped."""

    def abandon_after_fork(self) -> None:
        """Leave the parent's connections alone: what is sent through them here is not ours."""
        forks.keep_for_ever(self._pool, self.listener)
        self._is_forked = True
        self.changes = self._forked
        self.watch = self._forked
        self._datastore.abandon(self._forked)

    def _not_open(self) -> NoReturn:
        raise LogClosedError(f"{self.location} is not open", location=self.location)

    def _closed(self, *_: object) -> NoReturn:
        message = f"{self.location} was closed: open it again"
        raise LogClosedError(message, location=self.location)

    def _forked(self, *_: object) -> NoReturn:
        forks.refuse_after_fork(self.location)


class _Recorder(PostgresApplicationRecorder):
    """eventsourcing's recorder, which makes its table where there is none, and no other."""

    datastore: Datastore

    def __init__(
        self,
        datastore: Datastore,
        listener: LogListener,
        *,
        events_table_name: str = TABLE,
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self._listener = listener
        table = Identifier(datastore.schema, events_table_name)
        # Writers wait for each other, so that the order of ids is that of commits. LOCK TABLE
        # does it too, but needs the right to change and delete rows.
        self._lock = SQL("SELECT pg_advisory_xact_lock({})").format(
            Literal(_lock_number(datastore.schema))
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
                Identifier(f"{TABLE}_alien_topics"), table, _not_ours()
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


class _Factory(PostgresFactory):
    def __init__(self, datastore: Datastore, listener: LogListener) -> None:
        InfrastructureFactory.__init__(self, {})
        self.datastore = self._datastore = datastore
        self._listener = listener

    def application_recorder(self) -> ApplicationRecorder:
        recorder = _Recorder(self._datastore, self._listener)
        recorder.create_table()
        return recorder


@contextlib.contextmanager
def _noticing_empty_states() -> Iterator[None]:
    try:
        yield
    except TypeError as error:  # from bytes()
        raise LogDamagedError("the log has a row without a state: it was altered") from error


def has_rows(url: str, *, patience: float = 5.0) -> bool:
    """Return whether a database holds a log with events in it. Makes nothing."""
    pool = Pool(url, 1, patience)
    try:
        datastore = Datastore(pool)
        with datastore.get_connection() as connection:
            table = Identifier(datastore.schema, TABLE)
            name = table.as_string(connection)
            if connection.execute("SELECT to_regclass(%s) AS it", (name,)).fetchone() == {
                "it": None
            }:
                return False
            return connection.execute(SQL("SELECT FROM {} LIMIT 1").format(table)).rowcount > 0
    finally:
        pool.close()


def _not_ours() -> Composed:
    return SQL("topic NOT IN ({})").format(SQL(", ").join(map(Literal, EVENT_CLASSES)))


def _lock_number(schema: str) -> int:
    """Return the number of the lock that writers to the log in a schema take."""
    number = hashlib.sha256(f"keyturn log {schema}".encode()).digest()[:8]
    return int.from_bytes(number, "big", signed=True)
