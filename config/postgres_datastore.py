"""What eventsourcing's recorder asks of a PostgreSQL database, over our pool of connections."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import psycopg
from eventsourcing.postgres import PostgresDatastore

from keyturn.config.postgres_connections import Connection, Pool
from keyturn.config.postgres_errors import explained
from keyturn.domain.errors import LogUnavailableError


class Datastore(PostgresDatastore):
    """What eventsourcing's recorder asks for, over our pool. Its errors are ours."""

    pool: Pool  # type: ignore[assignment]

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._of_this_thread = threading.local()
        self.originator_id_type = "uuid"
        self.enable_db_functions = False
        self.lock_timeout = 0  # it is the connection's
        self.db_type_names = set()
        self.schema = ""
        with self.get_connection() as connection:
            found = connection.execute("SELECT current_schema() AS name").fetchone()
        if found is None or found["name"] is None:
            raise LogUnavailableError(
                f"the log {pool.location} is not available: no schema of its search_path is "
                "there for this role; create it, or grant USAGE on it",
                location=pool.location,
            )
        self.schema = found["name"]

    @contextlib.contextmanager
    def get_connection(self) -> Iterator[Connection]:
        held: Connection | None = getattr(self._of_this_thread, "held", None)
        if held is not None and not held.closed:
            with self.explaining():
                yield held
            return
        if held is not None:  # its place in the pool is ours, and it broke
            with self.explaining(), contextlib.closing(self.new_connection()) as connection:
                yield connection
            return
        with self.pool.connection() as connection, self.explaining():
            yield connection

    def new_connection(self) -> Connection:
        """Return a connection that is not of the pool."""
        return self.pool.connect(self.pool.reply_limit)

    @contextlib.contextmanager
    def holding(self, lock: int) -> Iterator[None]:
        """Hold an advisory lock for the block, in which this thread has one connection.

        The server lets go of it when the connection ends, as it does with one that is stopped.
        """
        with self.get_connection() as connection:
            connection.end_if_idle(wanted=True)
            connection.execute("SELECT pg_advisory_lock(%s)", (lock,))
            self._of_this_thread.held = connection
            try:
                yield
            finally:
                self._of_this_thread.held = None
                try:
                    connection.execute("SELECT pg_advisory_unlock(%s)", (lock,))
                    connection.end_if_idle(wanted=False)
                except psycopg.Error:
                    connection.close()  # and what was done in the block is done

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn psycopg's errors in the block into ours."""
        try:
            yield
        except psycopg.Error as error:
            raise explained(error, self.pool.location) from error

    def register_type_adapters(self) -> None:
        """There are no types of ours."""

    def close(self) -> None:
        self.pool.close()

    def abandon(self, refuse: Callable[..., NoReturn]) -> None:
        """Use no connection any more: they are those of the process that this one forked from."""
        self.pool = ForkedPool(refuse)  # type: ignore[assignment]
        self._of_this_thread = threading.local()

    def __del__(self) -> None:
        """Do nothing: a finalizer runs at any moment, maybe in a forked child."""


class ForkedPool:
    """Stands where a pool was that belongs to the parent process."""

    def __init__(self, refuse: Callable[..., NoReturn]) -> None:
        self.connection = refuse
        self.connect = refuse
        self.reply_limit = 0.0
