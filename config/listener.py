"""What a process knows of the commits to a PostgreSQL log, and since when it knows nothing.

One connection listens: the server pushes every commit to it (LISTEN and NOTIFY). A few times in
each `max_staleness` it also asks for the head of the log. The answer shows that the server is
there, that the connection works and that nothing was missed; an idle server is as good as a busy
one, and silence is no answer.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable

import psycopg
from psycopg.sql import Composed

from keyturn.config.change_poller import call_all
from keyturn.config.clock import boot_time
from keyturn.config.postgres_connections import Connection
from keyturn.domain.errors import LogError

REMOVAL = "removal"
"""What a push says when rows were removed."""

_BEATS = 4
"""How often the head is asked for in each `max_staleness`."""

_LONGEST_BEAT = 0.25
_SHORTEST_BEAT = 0.01
_BETWEEN_TRIES = 0.1  # seconds, if there is no connection to be had


class LogListener:
    """A thread that listens, started with the first question.

    Args:
        connect: returns a new connection that waits for a reply so many seconds.
        listen: the statement that has the server push.
        head: the statement whose rows differ once anything was committed.
        max_staleness: seconds for which what was heard counts; 0: never.
    """

    def __init__(
        self,
        connect: Callable[[float], Connection],
        *,
        listen: Composed,
        head: Composed,
        max_staleness: float,
    ) -> None:
        self._connect = connect
        self._listen = listen
        self._head = head
        self._max_staleness = max_staleness
        self._beat = min(max(max_staleness / _BEATS, _SHORTEST_BEAT), _LONGEST_BEAT)
        self._heard_at = float("-inf")
        self._version = object()
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()

    def changes(self) -> object:
        """Return a value that differs once something was heard of; see `KeyLog.changes`.

        It is like no other if nothing was heard for too long: whoever compares it then reads the
        log. Never waits.
        """
        # By this clock what was heard before the machine slept is old.
        if boot_time() - self._heard_at > self._max_staleness:
            if self._thread is None and self._max_staleness > 0:
                self._start()
            return object()
        return self._version

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change`, in the listener's thread, after changes; return what ends that."""
        self._watchers.append(on_change)
        self._start()

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._watchers.remove(on_change)

        return stop

    def announce(self) -> None:
        """Have what was known count as out of date: something has changed."""
        self._version = object()

    def _tell(self) -> None:
        self.announce()
        call_all(self._watchers)

    def stop_soon(self) -> None:
        """Have the thread end with its next beat. Takes no lock: a finalizer may hold it."""
        self._stopping = True

    def close(self) -> None:
        """End the thread. One that waits for a server that hangs ends when that wait does."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            if self._thread is None:
                self._close_pipe()
                return
            os.write(self._wake_write, b".")
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=_LONGEST_BEAT)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._run, name="keyturn-listener", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while not self._stopping:
            with contextlib.suppress(LogError, psycopg.Error):
                limit = max(self._max_staleness, 1.0)
                with contextlib.closing(self._connect(limit)) as connection:
                    self._follow(connection)
            self._wait(_BETWEEN_TRIES)
        with self._lock:
            self._close_pipe()

    def _follow(self, connection: Connection) -> None:
        """Listen until the connection breaks or the listener is closed."""
        connection.execute(self._listen)
        known: object = None
        while not self._stopping:
            asked_at = boot_time()
            head = connection.execute(self._head).fetchall()
            if head != known:
                known = head
                self._tell()  # the first time of whatever nobody listened to
            self._heard_at = asked_at
            self._wait_for_push(connection, until=time.monotonic() + self._beat)

    def _wait_for_push(self, connection: Connection, until: float) -> None:
        while not self._stopping:
            # First: some may have come with the last reply.
            pushes = list(connection.notifies(timeout=0))
            if any(push.payload == REMOVAL for push in pushes):
                self._tell()  # the head does not show it
            left = until - time.monotonic()
            if pushes or left <= 0:
                return
            self._wait(left, connection)

    def _wait(self, seconds: float, connection: Connection | None = None) -> None:
        """Wait, but not when the connection has something or the end was called for."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if connection is not None:
            poll.register(connection.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)

    def _close_pipe(self) -> None:
        os.close(self._wake_read)
        os.close(self._wake_write)
