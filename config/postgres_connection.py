"""One connection to the PostgreSQL database of a log, which waits for nothing without end."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from keyturn.config.store_errors import unavailable

OLDEST_SERVER = 14
"""The major version of PostgreSQL that is needed."""

GRACE = 1.0
"""Seconds: the server, which ends its waits before, says why."""

_LONGEST_PAUSE = 5000
"""Milliseconds: a writer that was stopped half-way does not lock out the rest for longer."""

# A role, a database or the URL may set these otherwise, and change what a statement means.
_SETTINGS = """
SET standard_conforming_strings = on;
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
        search_path: the schemas that the URL, the role or the database name and that this role
            may look into, in order.
    """

    reply_by = math.inf
    search_path: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._process = os.getpid()

    def close(self) -> None:
        """Close it, unless it is that of the process from which this one was forked."""
        if self._process == os.getpid():
            super().close()

    def set_up(self, location: str, timeout: float) -> None:
        """Have it mean the same whatever the role, the database or the URL sets.

        Args:
            location: what to call the log in errors.
            timeout: seconds that the server waits for a lock.

        Raises:
            LogUnavailableError: the server is too old, or the role has no schema.
        """
        version = self.info.server_version // 10000
        if version < OLDEST_SERVER:
            raise unavailable(
                location,
                f"its server is PostgreSQL {version}, and Keyturn needs {OLDEST_SERVER} or newer",
            )
        [(self.search_path,)] = self.execute("SELECT pg_catalog.current_schemas(false)")
        if not self.search_path:
            why = "no schema of its search_path is there for this role; create it, or grant USAGE"
            raise unavailable(location, why)
        lock_timeout = max(1, round(timeout * 1000))
        self.execute(_SETTINGS.format(lock_timeout=lock_timeout, longest_pause=_LONGEST_PAUSE))

    def within(self, seconds: float) -> None:
        """Wait for what comes next no longer than so many seconds."""
        self.reply_by = time.monotonic() + seconds

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        return super().wait(self._limited(gen), *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        ready = None
        try:
            while True:
                ready = yield gen.send(ready)
                if not ready and time.monotonic() > self.reply_by:
                    self.close()  # a late reply would be taken for that to another question
                    raise psycopg.OperationalError("the server does not reply")
        except StopIteration as stop:
            return stop.value

    def __del__(self, *_: object) -> None:
        """Say nothing: the service that was never closed has warned of it."""

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
