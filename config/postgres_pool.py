"""The connections of a process to the PostgreSQL database of a log.

A thread that needs a connection takes an idle one or opens one itself, so it learns why there is
none. An exception may be thrown into any thread at any moment (Ctrl-C, a time limit): so nothing
here depends on a lock or a permit that could be lost on the way, and a connection is used again
only if all went well.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict

from keyturn.config.postgres_connection import GRACE, Connection
from keyturn.config.postgres_errors import explaining, unreachable
from keyturn.config.store_errors import unavailable
from keyturn.config.store_url import is_divisible, shown
from keyturn.domain.errors import LogClosedError, SettingsError

_BETWEEN_LOOKS = 0.002  # seconds, while all connections are in use


class Pool:
    """The connections of this process, used by at most `size` threads at once.

    Args:
        url: of the database, as libpq has it.
        size: how many threads may use a connection at once.
        timeout: seconds to wait for a connection, for a lock and (a second more) for a reply.
    """

    def __init__(self, url: str, size: int, timeout: float) -> None:
        self.location = shown(url)
        self.timeout = timeout
        self._parameters = _parameters(url)
        self._size = size
        self._process = os.getpid()
        self._turns: set[int] = set()  # threads
        # Weakly, so that a block whose end was interrupted lends nothing any more.
        self._lent: WeakValueDictionary[int, Connection] = WeakValueDictionary()  # by thread
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def connection(self, *, for_thread: bool = False) -> Iterator[Connection]:
        """Lend a connection for the length of the block.

        Args:
            for_thread: lend this thread the same one again within the block.

        Raises:
            LogUnavailableError: there is none in time.
        """
        self.check_open()
        thread, deadline = threading.get_ident(), time.monotonic() + self.timeout
        connection = self._lent.get(thread)
        if connection is not None and not connection.closed:
            connection.reply_by = deadline + GRACE
            yield connection
            return
        connection = None
        try:
            self._wait_for_turn(thread, deadline)
            connection = self._take() or self.connect(deadline - time.monotonic())
            connection.reply_by = deadline + GRACE
            if for_thread:
                self._lent[thread] = connection
            yield connection
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        finally:
            self._lent.pop(thread, None)
            self._turns.discard(thread)
        if connection.is_usable:
            self._idle.append(connection)
        else:
            connection.close()
        if self._closed:
            self.retire()

    def connect(self, timeout: float) -> Connection:
        """Return a new connection that is not of the pool.

        Args:
            timeout: seconds; libpq waits for no less than two.

        Raises:
            LogUnavailableError: there is none to be had; it says why.
        """
        limit = {"connect_timeout": max(2, math.ceil(timeout))}
        try:
            connection = Connection.connect(**(limit | self._parameters))
            try:
                connection.within(timeout + GRACE)
                connection.set_up(self.location, self.timeout)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:  # whose frames hold the password
            raise unreachable(error, self.location) from error.with_traceback(None)
        return connection

    def retire(self) -> None:
        """Close the connections that nobody uses just now."""
        while (connection := self._take()) is not None:
            connection.close()

    def close(self) -> None:
        """Close all connections, those in use once they are given back."""
        self._closed = True
        self.retire()

    def check_open(self) -> None:
        """Raise `LogClosedError` if it was closed, or belongs to the process that forked us."""
        is_of_parent = self._process != os.getpid()
        if self._closed or is_of_parent:
            why = "opened before a fork" if is_of_parent else "closed"
            message = f"{self.location} was {why}: open it again"
            raise LogClosedError(message, location=self.location)

    def refuse_transaction_pooler(self) -> None:
        """Raise `LogUnavailableError` if a pooler lends connections for a transaction each.

        It loses pushes and settings. pgbouncer names a process of its own to clients, and lends
        the same connection of the server to two clients that are idle.
        """
        ask = "SELECT pg_catalog.pg_backend_pid()"
        with explaining(self.location), self.connection() as first:
            pid = first.execute(ask).fetchone()
            if pid == (first.info.backend_pid,):
                return
            with contextlib.closing(self.connect(self.timeout)) as second:
                second.execute("BEGIN")
                lent = second.execute(ask).fetchone()
                if lent != pid and first.execute(ask).fetchone() == pid:
                    return
        raise unavailable(
            self.location,
            "a pooler in transaction mode stands before the server, which loses pushes: set "
            "pool_mode = session for this database in pgbouncer, or name the server itself",
        )

    def _wait_for_turn(self, thread: int, deadline: float) -> None:
        """Wait until fewer than `size` other threads use a connection.

        A turn that an exception kept from being given back is that thread's next one.
        """
        while True:
            with self._lock:
                if len(self._turns - {thread}) < self._size:
                    self._turns.add(thread)
                    return
            if time.monotonic() > deadline:
                raise unavailable(
                    self.location,
                    f"all {self._size} connections of this process are in use; try again, or set "
                    "a larger pool_size",
                    is_busy=True,
                )
            time.sleep(_BETWEEN_LOOKS)

    def _take(self) -> Connection | None:
        """Return a connection that is open and that nobody uses, if there is one."""
        while True:
            try:
                connection = self._idle.pop()  # atomic
            except IndexError:
                return None
            if connection.is_usable:
                return connection
            connection.close()


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters of a connection: those of the URL, and ours."""
    given = None
    if is_divisible(url):  # else libpq would take a part of the password for a host, and show it
        with contextlib.suppress(psycopg.Error):  # whose text shows the URL, password included
            given = conninfo_to_dict(url)
    if given is None:
        raise SettingsError(
            f"the store {shown(url)} is no URL that PostgreSQL's libpq understands: write "
            "postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full, and in a password %40 for "
            "an @, %2F for a / and %25 for a %",
            key="store",
            source="the arguments",
        )
    return {
        "fallback_application_name": "keyturn",
        "keepalives_idle": 30,  # seconds, after which a network that is gone is noticed
        "keepalives_interval": 10,
        **given,
        "target_session_attrs": "primary",  # a standby may not know yet of a reset
        "client_encoding": "UTF8",
        "autocommit": True,
    }
