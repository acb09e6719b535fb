"""A log in a PostgreSQL database: eventsourcing's recorder, made durable and recoverable.

Its table is append-only for the role that runs a service: it needs SELECT and INSERT alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
)
from psycopg.sql import SQL, Identifier

from keyturn.config import forks
from keyturn.config.listener import REMOVAL, LogListener
from keyturn.config.postgres_connections import Pool
from keyturn.config.postgres_datastore import Datastore
from keyturn.config.postgres_recorder import TABLE, Factory, lock_number, not_ours
from keyturn.config.stored_rows import check_topics
from keyturn.domain.errors import LogClosedError
from keyturn.domain.key_log import Row

_PAGE = 500


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
        self.changes: Callable[[], object] = self.listener.changes
        self.watch: Callable[[Callable[[], None]], Callable[[], None]] = self.listener.watch
        self.factory: InfrastructureFactory[Any] = Factory(self._datastore, self.listener)
        forks.guard(self)

    def recorder(self) -> ApplicationRecorder:
        """Return the recorder, its table made if need be."""
        return self.factory.application_recorder()

    def refuse_alien_topics(self, host_topics: Collection[str]) -> None:
        """Raise `NotAKeyturnLogError` if there is a topic that is neither ours nor the host's."""
        select = SQL("SELECT topic FROM {} WHERE {}").format(self._table, not_ours())
        next_one = SQL(" ORDER BY topic LIMIT 1")
        with self._datastore.get_connection() as connection:

            def first_behind(topic: str | None) -> str | None:
                behind = SQL("") if topic is None else SQL(" AND topic > %s")
                values = None if topic is None else (topic,)
                row = connection.execute(select + behind + next_one, values).fetchone()
                return None if row is None else str(row["topic"])

            check_topics(first_behind, host_topics)

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
        return self._datastore.holding(lock_number(self._datastore.schema))

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

    def stop_soon(self) -> None:
        """Have the listener end in a moment."""
        self.listener.stop_soon()

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

    def _closed(self, *_: object) -> NoReturn:
        message = f"{self.location} was closed: open it again"
        raise LogClosedError(message, location=self.location)

    def _forked(self, *_: object) -> NoReturn:
        forks.refuse_after_fork(self.location)


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
