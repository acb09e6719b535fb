"""Connections to the PostgreSQL database of a log: durable, and never waited for without end.

The pool is ours and small. psycopg's own opens connections in threads of its own: whoever needs
one learns only that there was none in time, not why, and its next try may come seconds after the
server is back. This one connects in the thread that needs a connection.
"""

from __future__ import annotations

import contextlib
import math
import select
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from keyturn.config.postgres_errors import READ_ONLY, unreachable
from keyturn.config.store_url import is_divisible, shown
from keyturn.domain.errors import LogClosedError, LogUnavailableError, SettingsError

OLDEST_SERVER = 14
"""The major version of PostgreSQL that is needed."""

_LONGEST_PAUSE = 5000
"""Milliseconds: a writer that was stopped half-way does not lock out the rest for longer."""


class Connection(psycopg.Connection[DictRow]):
    """A connection that waits for a reply no longer than `reply_limit` seconds.

    A server that was stopped in its tracks, or a network that swallows everything, would
    otherwise be waited for without end.
    """

    reply_limit = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return super().wait(self._limited(gen), *args, **kwargs)
        except _NoReplyError:
            self.close()  # a late reply would be taken for that to another question
            raise

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline = time.monotonic() + self.reply_limit
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    raise _NoReplyError(f"no reply within {self.reply_limit:g} s")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def end_if_idle(self, *, wanted: bool) -> None:
        """Have the server end it, or not, when nothing is asked for a while."""
        self.execute(f"SET idle_session_timeout = {_LONGEST_PAUSE if wanted else 0}")

    def __del__(self, *_: object) -> None:
        """Say nothing: the service that was never closed has warned of it."""

    @property
    def is_usable(self) -> bool:
        """Whether it can be used next: idle, and not closed by the server meanwhile."""
        if self.closed or self.info.transaction_status is not TransactionStatus.IDLE:
            return False
        # A server has nothing to say to an idle connection but that it ends.
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)


class _NoReplyError(psycopg.OperationalError):
    pass


class Pool:
    """At most `size` connections of this process, opened when they are needed.

    Args:
        url: of the database, as libpq has it.
        size: how many may be in use at once.
        patience: seconds to wait for a connection, for a lock, and beyond that for a reply.
    """

    def __init__(self, url: str, size: int, patience: float) -> None:
        self.location = shown(url)
        self._parameters = _parameters(url, patience)
        self._size = size
        self._patience = patience
        self.reply_limit = patience + 1  # the server, which ends its waits before, says why
        self._free = threading.Semaphore(size)
        self._idle: list[Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; one that is not in order afterwards is closed."""
        if self._closed:
            message = f"{self.location} was closed: open it again"
            raise LogClosedError(message, location=self.location)
        if not self._free.acquire(timeout=self._patience):
            raise LogUnavailableError(
                f"the log {self.location} is not available: all {self._size} connections of this "
                "process are in use; try again, or set a larger pool_size",
                location=self.location,
                recorded=False,
                is_busy=True,
            )
        try:
            connection = self._take() or self.connect(self.reply_limit)
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def connect(self, reply_limit: float) -> Connection:
        """Return a connection that is not of the pool.

        Raises:
            LogUnavailableError: there is none to be had; it says why.
        """
        problem: LogUnavailableError
        try:
            connection = Connection.connect(**self._parameters)
            connection.reply_limit = reply_limit
            try:
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

    def _give_back(self, connection: Connection) -> None:
        if not connection.is_usable:
            connection.close()
            self.retire()  # what broke this one has broken the others, too
            return
        connection.reply_limit = self.reply_limit
        self._idle.append(connection)
        if self._closed:
            self.retire()

    def _set_up(self, connection: Connection) -> None:
        version = connection.info.server_version // 10000
        if version < OLDEST_SERVER:
            raise LogUnavailableError(
                f"the log {self.location} is not available: its server is PostgreSQL {version}, "
                f"and Keyturn needs {OLDEST_SERVER} or newer",
                location=self.location,
                recorded=False,
            )
        if connection.info.parameter_status("in_hot_standby") == "on":
            raise LogUnavailableError(
                f"the log {self.location} is not available: {READ_ONLY}",
                location=self.location,
                recorded=False,
            )
        connection.execute(
            f"SET lock_timeout = {max(1, round(self._patience * 1000))};"
            f"SET idle_in_transaction_session_timeout = {_LONGEST_PAUSE};"
            # A server may be set to acknowledge what is not on its disk yet.
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'"
        )


def _parameters(url: str, patience: float) -> dict[str, Any]:
    """Return the parameters of a connection: those of the URL over ours."""
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
        "connect_timeout": max(2, math.ceil(patience)),  # seconds; libpq knows no less
        "fallback_application_name": "keyturn",
        "target_session_attrs": "primary",  # a standby may not know yet of a reset
        "keepalives_idle": 30,  # seconds, after which a network that is gone is noticed
        "keepalives_interval": 10,
    }
    return {**defaults, **given, "autocommit": True, "row_factory": dict_row}
