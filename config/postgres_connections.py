"""Connections to the PostgreSQL database of a log: durable, and never waited for without end.

A thread that needs a connection takes an idle one or opens one itself, so it learns why there is
none. An exception may be thrown into any thread at any moment (Ctrl-C, a time limit): so nothing
here depends on a lock or a permit that could be lost on the way, and a connection is used again
only if all went well.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import re
import select
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
from eventsourcing.persistence import IntegrityError
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from keyturn.config.postgres_errors import explaining, unavailable, unreachable
from keyturn.config.store_url import is_divisible, shown
from keyturn.domain.errors import LogClosedError, LogError, LogUnavailableError, SettingsError

OLDEST_SERVER = 14
"""The major version of PostgreSQL that is needed."""

GRACE = 1.0
"""Seconds: the server, which ends its waits before, says why."""

_LONGEST_PAUSE = 5000
"""Milliseconds: a writer that was stopped half-way does not lock out the rest for longer."""

# A role, a database or the URL may set these otherwise, and change what a statement means.
_SETTINGS = """
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
SET search_path = pg_catalog;
SET TimeZone = 'UTC';
SET bytea_output = hex;
SET row_security = off;
SET default_transaction_isolation = 'read committed';
SET lock_timeout = {lock_timeout};
SET idle_in_transaction_session_timeout = {longest_pause};
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""


class Connection(psycopg.Connection[TupleRow]):
    """A connection that waits for replies until `reply_by`, by `time.monotonic`.

    A server that was stopped in its tracks, or a network that swallows everything, would
    otherwise be waited for without end.

    Attributes:
        search_path: the schemas that the URL, the role or the database name, in order.
        schema: the first of them that is there.
    """

    reply_by = math.inf
    search_path: list[str]
    schema: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._process = os.getpid()

    def close(self) -> None:
        """Close it, unless it is that of the process from which this one was forked."""
        if self._process == os.getpid():
            super().close()

    def within(self, seconds: float) -> None:
        """Wait for what comes next no longer than so many seconds."""
        self.reply_by = time.monotonic() + seconds

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return super().wait(self._limited(gen), *args, **kwargs)
        except _NoReplyError:
            self.close()  # a late reply would be taken for that to another question
            raise

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > self.reply_by:
                    raise _NoReplyError("the server does not reply")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def __del__(self, *_: object) -> None:
        """Say nothing: the service that was never closed has warned of it."""

    @property
    def time_left(self) -> float:
        """Seconds that the server may take to say why something cannot be done."""
        return self.reply_by - GRACE - time.monotonic()

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction was begun that did not fail."""
        return self.info.transaction_status is TransactionStatus.INTRANS

    @property
    def is_usable(self) -> bool:
        """Whether it can be used next: idle, and not closed by the server meanwhile."""
        if self.closed or self.info.transaction_status is not TransactionStatus.IDLE:
            return False
        # A server has nothing to say to an idle connection but that it ends.
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)

    def abandon_transaction(self) -> None:
        """Roll back what was begun; close the connection if that is not possible."""
        if self.closed or self.info.transaction_status is TransactionStatus.IDLE:
            return
        try:
            self.within(GRACE)
            self.execute("ROLLBACK")
        except psycopg.Error:
            self.close()


class _NoReplyError(psycopg.OperationalError):
    pass


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
        self._turns: dict[int, object] = {}  # by thread
        self._lock = threading.Lock()
        self._freed: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._idle: list[Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection for the length of the block.

        Raises:
            LogUnavailableError: there is none in time.
        """
        self.check_open()
        deadline = time.monotonic() + self.timeout
        thread, turn, connection = threading.get_ident(), object(), None
        try:
            self._wait_for_turn(thread, turn, deadline)
            connection = self._take() or self.connect(deadline - time.monotonic())
            connection.reply_by = deadline + GRACE
            yield connection
        except BaseException as error:
            is_known = isinstance(error, psycopg.Error | LogError | IntegrityError)
            if connection is not None and not is_known:
                connection.close()  # nobody knows how far it got
            raise
        finally:
            try:
                self._give_back(connection)
            finally:
                if self._turns.get(thread) is turn:
                    del self._turns[thread]
                if self._freed.empty():
                    self._freed.put(None)

    def connect(self, timeout: float) -> Connection:
        """Return a new connection that is not of the pool.

        Args:
            timeout: seconds; libpq waits for no less than two.

        Raises:
            LogUnavailableError: there is none to be had; it says why.
        """
        problem: LogUnavailableError
        limit = {"connect_timeout": max(2, math.ceil(timeout))}
        try:
            connection = Connection.connect(**(limit | self._parameters))
            try:
                connection.within(timeout + GRACE)
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            problem = unreachable(error, self.location)
        else:
            return connection
        raise problem  # here, where no frame holds the password

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

    def _wait_for_turn(self, thread: int, turn: object, deadline: float) -> None:
        while True:
            with self._lock:
                if thread in self._turns:
                    return  # within a block of its own
                if len(self._turns) < self._size:
                    self._turns[thread] = turn
                    return
            left = deadline - time.monotonic()
            if left <= 0:
                raise unavailable(
                    self.location,
                    f"all {self._size} connections of this process are in use; try again, or set "
                    "a larger pool_size",
                    is_busy=True,
                )
            with contextlib.suppress(queue.Empty):
                # A hint that some other thread took is not waited for.
                self._freed.get(timeout=min(left, 0.05))

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

    def _give_back(self, connection: Connection | None) -> None:
        if connection is None:
            return
        connection.abandon_transaction()
        if connection.is_usable:
            self._idle.append(connection)
        else:
            connection.close()
            self.retire()  # what broke this one has broken the others, too
        if self._closed:
            self.retire()

    def _set_up(self, connection: Connection) -> None:
        version = connection.info.server_version // 10000
        if version < OLDEST_SERVER:
            raise unavailable(
                self.location,
                f"its server is PostgreSQL {version}, and Keyturn needs {OLDEST_SERVER} or newer",
            )
        ask = "SELECT pg_catalog.current_setting('search_path'), current_user, current_schema"
        [(path, user, schema)] = connection.execute(ask)
        if schema is None:
            why = "no schema of its search_path is there for this role; create it, or grant USAGE"
            raise unavailable(self.location, why)
        connection.schema = schema
        connection.search_path = _schemas(path, user)
        lock_timeout = max(1, round(self.timeout * 1000))
        connection.execute(
            _SETTINGS.format(lock_timeout=lock_timeout, longest_pause=_LONGEST_PAUSE)
        )


def _schemas(search_path: str, user: str) -> list[str]:
    """Return the schemas that a name without one is looked for in, whether or not they exist."""
    names = []
    for quoted, plain in re.findall(r'"((?:[^"]|"")*)"|([^\s,"]+)', search_path):
        name = quoted.replace('""', '"') or plain.lower()
        names.append(user if name == "$user" else name)
    return list(dict.fromkeys(names))


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
    defaults = {
        "fallback_application_name": "keyturn",
        "keepalives_idle": 30,  # seconds, after which a network that is gone is noticed
        "keepalives_interval": 10,
    }
    ours = {
        "target_session_attrs": "primary",  # a standby may not know yet of a reset
        "client_encoding": "UTF8",
        "autocommit": True,
    }
    return defaults | given | ours
