"""A log in a table of a PostgreSQL database: see `Store` for what it promises.

The role of a service needs SELECT on the table, and INSERT on four of its columns. A write is
one transaction that takes the writers' lock first, so each statement of it sees what the writers
before it committed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import IntegrityError, Notification, StoredEvent
from psycopg import Cursor

from keyturn.config.change_poller import Watchers
from keyturn.config.listener import Listener
from keyturn.config.postgres_connection import GRACE, Connection
from keyturn.config.postgres_errors import explaining
from keyturn.config.postgres_pool import Pool
from keyturn.config.postgres_schema import (
    lock_number,
    look,
    open_table,
    problems,
    sequence_problems,
)
from keyturn.config.postgres_statements import TABLE
from keyturn.config.store import HIGHEST, Store
from keyturn.config.store_errors import unavailable
from keyturn.domain.errors import LogUnavailableError
from keyturn.domain.key_log import Row
from keyturn.domain.stored_events import validated

_LOCK_HOLDERS = """
SELECT DISTINCT pid, usename, application_name
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((locktype = 'advisory' AND objsubid = 1
            AND (classid::bigint << 32 | objid::bigint) = %s::bigint)
        OR (relation = %s AND mode <> 'AccessShareLock'))
LIMIT 3
"""

_BATCH = 500
"""How many rows are sent or fetched at once."""

_TO_SORT = 300.0
"""Seconds that a server may take to put all rows in order."""


class PostgresStore(Store):
    """One table of a PostgreSQL database.

    Args:
        url: of the database, as libpq has it.
        timeout: seconds to wait for a connection, and for a lock.
        max_staleness: seconds for which what was heard of the log counts; 0: not at all.
        pool_size: how many connections may be in use at once; one more listens.

    Raises:
        NotAKeyturnLogError: something else lies there, or something of another's is on the table.
        LogVersionError: a newer Keyturn made it.
        LogUnavailableError: it cannot be used now, or not by this role.
    """

    is_server = True
    """What it says of a commit is so, and what can be read was flushed before."""

    def __init__(self, url: str, *, timeout: float, max_staleness: float, pool_size: int) -> None:
        self._pool = Pool(url, pool_size, timeout)
        self.location = self._pool.location
        self._problem: str | None = None
        try:
            self._pool.refuse_transaction_pooler()
            with explaining(self.location), self._pool.connection() as connection:
                self._relation = open_table(connection, self.location)
        except BaseException:
            self._pool.close()
            raise
        self.table = self._relation.name
        self.is_read_only = not self._relation.rights.may_append
        self._lock = lock_number(self._relation.schema)
        self._listener = Listener(self._pool, self._look, max_staleness, Watchers(self))

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
        rows = self._fetch(
            "SELECT originator_id, originator_version, topic, state FROM {table} WHERE"  # noqa: S608
            " originator_id = %s AND originator_version > %s AND originator_version <= %s"
            f" ORDER BY originator_version {'DESC' if desc else 'ASC'} LIMIT %s",
            originator_id,
            -1 if gt is None else gt,
            HIGHEST if lte is None else lte,
            limit,
        )
        return [validated(StoredEvent(*row)) for row in rows]

    def numbered(
        self, first: int, last: int, topics: Sequence[str], limit: int
    ) -> Sequence[Notification]:
        rows = self._fetch(
            "SELECT originator_id, originator_version, topic, state, notification_id FROM {table}"
            " WHERE notification_id BETWEEN %s AND %s AND (%s OR topic = ANY (%s))"
            " ORDER BY notification_id LIMIT %s",
            first,
            last,
            not topics,
            list(topics),
            limit,
        )
        return [validated(Notification(*row)) for row in rows]

    def max_notification_id(self) -> int | None:
        [(number,)] = self._fetch("SELECT max(notification_id) FROM {table}")
        return None if number is None else int(number)

    def rows(self) -> Generator[Row, None, None]:
        self._refuse_problem()
        self._pool.check_open()
        connection = self._pool.connect(self._pool.timeout)
        with explaining(self.location), contextlib.closing(connection):
            # By the table itself and no index: an index may lack what the table has. Code that
            # reads may pause for as long as it likes: nobody waits for that.
            connection.execute(
                "SET idle_in_transaction_session_timeout = 0; SET enable_indexscan = off;"  # noqa: S608
                "SET enable_indexonlyscan = off; SET enable_bitmapscan = off;"
                "BEGIN READ ONLY; DECLARE rows NO SCROLL CURSOR FOR"
                " SELECT originator_id, originator_version, topic, state"
                f" FROM {self.table} ORDER BY notification_id"
            )
            while True:
                self._pool.check_open()
                connection.within(_TO_SORT)
                page = connection.execute(f"FETCH {_BATCH} FROM rows").fetchall()
                for id_, *values in page:
                    yield Row(id_.hex, *values)
                if len(page) < _BATCH:
                    return

    def newest_rows(self, topics: Collection[str]) -> list[Row]:
        rows = self._fetch(
            "WITH RECURSIVE ids (id) AS ("
            " (SELECT originator_id FROM {table} ORDER BY originator_id LIMIT 1) UNION ALL"
            " SELECT (SELECT originator_id FROM {table} WHERE originator_id > id"
            " ORDER BY originator_id LIMIT 1) FROM ids WHERE id IS NOT NULL)"
            " SELECT id, originator_version, topic, state FROM ids"
            " JOIN {table} ON originator_id = id AND originator_version ="
            " (SELECT max(originator_version) FROM {table} WHERE originator_id = id)"
            " WHERE EXISTS (SELECT FROM {table} WHERE originator_id = id AND topic = ANY (%s))",
            list(topics),
        )
        return [Row(id_.hex, *values) for id_, *values in rows]

    def unknown_topic(self, known: Collection[str]) -> str | None:
        rows = self._fetch(
            "WITH RECURSIVE topics (topic) AS ("
            " (SELECT topic FROM {table} ORDER BY topic LIMIT 1) UNION ALL SELECT"
            " (SELECT topic FROM {table} WHERE topic > topics.topic ORDER BY topic LIMIT 1)"
            " FROM topics WHERE topics.topic IS NOT NULL)"
            " SELECT topic FROM topics WHERE topic <> ALL (%s) LIMIT 1",
            list(known),
        )
        return str(rows[0][0]) if rows else None

    def schema_problems(self) -> list[str]:
        with explaining(self.location), self._pool.connection() as connection:
            wrong = self._look_at_schema(connection)
            return wrong or sequence_problems(connection, self._relation)

    # --- writing ---

    def insert(self, events: Iterable[StoredEvent], may_begin_anywhere: bool) -> Sequence[int]:
        coming = iter(events)
        numbers: list[int] = []
        batch = list(islice(coming, _BATCH))
        if not batch:  # nothing is written, and nobody told
            return numbers
        with self._writing() as connection:
            while batch:
                numbers += self._insert(connection, batch, may_begin_anywhere)
                batch = list(islice(coming, _BATCH))
        return numbers

    def purge(self, last: StoredEvent) -> None:
        with self._writing() as connection:
            self._insert(connection, [last], may_begin_anywhere=False)
            # VACUUM overwrites what was deleted in its time.
            statement = "DELETE FROM {table} WHERE originator_id = %s AND originator_version < %s"
            self._execute(connection, statement, last.originator_id, last.originator_version)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        self._refuse_problem()
        with self._pool.connection(for_thread=True) as connection:
            if not connection.is_in_transaction:
                left = connection.reply_by - GRACE - time.monotonic()
                with self._explaining(connection):
                    connection.execute(
                        f"BEGIN; SET LOCAL lock_timeout = {max(1, round(left * 1000))};"
                        f"SELECT pg_advisory_xact_lock({self._lock})"
                    )
            yield

    def _insert(
        self, connection: Connection, events: Sequence[StoredEvent], may_begin_anywhere: bool
    ) -> list[int]:
        """Write events, each of which follows one that is there or that comes with it."""
        connection.within(self._pool.timeout + GRACE)
        cursor = self._execute(
            connection,
            "WITH event AS (SELECT * FROM"
            " unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[]) WITH ORDINALITY"
            " AS event (id, position, topic, state, number)),"
            " missing AS (SELECT FROM event WHERE NOT %s AND position <> 1"
            " AND (id, position - 1) NOT IN (SELECT id, position FROM event)"
            " AND NOT EXISTS (SELECT FROM {table} WHERE originator_id = id"
            " AND originator_version = position - 1))"
            " INSERT INTO {table} (originator_id, originator_version, topic, state)"
            " SELECT id, position, topic, state FROM event"
            " WHERE NOT EXISTS (SELECT FROM missing)"
            " ORDER BY number RETURNING notification_id",
            [event.originator_id for event in events],
            [event.originator_version for event in events],
            [event.topic for event in events],
            [event.state for event in events],
            may_begin_anywhere,
        )
        numbers = [number for (number,) in cursor]
        if not numbers:
            raise IntegrityError("the position before is not there")
        return numbers

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Write in the block, and commit at its end."""
        conflict: IntegrityError | None = None
        with self.exclusive(), self._pool.connection() as connection:
            is_committing = False
            try:
                with self._explaining(connection):
                    yield connection
                    is_committing = True
                    connection.execute(f"NOTIFY {TABLE}; COMMIT")
            except IntegrityError as error:  # the connection is as good as it was
                with contextlib.suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                conflict = error
            except BaseException as error:
                connection.close()
                if isinstance(error, LogUnavailableError) and not is_committing:
                    error.recorded = False
                raise
        if conflict is not None:
            raise conflict
        self._listener.announce()  # so that it counts here before the server tells us

    @contextlib.contextmanager
    def _explaining(self, connection: Connection) -> Iterator[None]:
        """Say who holds a lock that was not to be had in time, or which right is missing."""
        with explaining(self.location):
            try:
                yield
            except psycopg.errors.LockNotAvailable as error:
                raise self._locked(connection) from error
            except psycopg.errors.InsufficientPrivilege as error:
                grants = self._relation.grants
                delete = f"GRANT DELETE ON {self.table} TO {self._relation.rights.role}"
                why = f"this role may not do that: {grants} and, to purge, {delete}"
                raise unavailable(self.location, why) from error

    def _locked(self, connection: Connection) -> LogUnavailableError:
        """Return the error for a lock that was not to be had in time."""
        by = ""
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
            holders = connection.execute(_LOCK_HOLDERS, (self._lock, self._relation.oid))
            names = [f"process {pid} of role {role} ({name})" for pid, role, name in holders]
            by = f", by {'; '.join(names)}" if names else ""
        why = f"another process has kept it locked for too long{by}; try again"
        return unavailable(self.location, why, is_busy=True)

    # --- changes ---

    def changes(self) -> object:
        return self._listener.changes()

    def watch(
        self, on_change: Callable[[], None], originator_id: UUID | str | None = None
    ) -> Callable[[], None]:
        return self._listener.watch(on_change, originator_id)

    def seconds_since_heard(self) -> float:
        return self._listener.seconds_since_heard()

    def _look(self, connection: Connection) -> object | None:
        """Look at the head of the log and at the table, in the listener's thread."""
        head = connection.execute(self._relation.head_statement).fetchall()
        self._problem = "; ".join(self._look_at_schema(connection)) or None
        return None if self._problem else head

    def _look_at_schema(self, connection: Connection) -> list[str]:
        return problems(look(connection), self._relation.oid)

    def _refuse_problem(self) -> None:
        if self._problem is not None:
            raise unavailable(self.location, self._problem)

    # --- connections ---

    def reopen(self) -> bool:
        """Give up the connections that nobody uses.

        Returns:
            False: a server that hangs may yet carry out what it was sent.
        """
        self._pool.retire()
        self._listener.announce()
        return False

    def stop_soon(self) -> None:
        self._listener.stop_soon()

    def close(self) -> None:
        self._listener.stop_soon()
        self._pool.close()

    def _fetch(self, statement: str, *values: object) -> list[Any]:
        self._refuse_problem()
        with explaining(self.location), self._pool.connection() as connection:
            return self._execute(connection, statement, *values).fetchall()

    def _execute(self, connection: Connection, statement: str, *values: object) -> Cursor[Any]:
        # psycopg takes a % for a placeholder where values are bound.
        return connection.execute(statement.format(table=self.table.replace("%", "%%")), values)
