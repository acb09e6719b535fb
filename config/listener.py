"""What a process knows of the commits to a PostgreSQL log, and since when it knows nothing.

One connection listens: the server pushes every commit to it (LISTEN and NOTIFY), and every push
counts as a change. A few times in each `max_staleness` it also looks at the log. The answer shows
that the server is there, that the connection works and that nothing was missed; an idle server is
as good as a busy one, and silence is no answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from uuid import UUID

from keyturn.config.change_poller import Watchers, say
from keyturn.config.clock import boot_time
from keyturn.config.logging import get_logger
from keyturn.config.postgres_connection import Connection
from keyturn.config.postgres_pool import Pool
from keyturn.config.postgres_statements import TABLE

_BEATS = 4
"""How often the log is looked at in each `max_staleness`."""

_LONGEST_BEAT = 0.25
_SHORTEST_BEAT = 0.01
_LONGEST_REPLY = 2.0  # seconds, after which a connection counts as dead
_BETWEEN_TRIES = 0.1  # seconds, if there is no connection to be had

_BETWEEN_PUSHES = 0.002
"""Seconds: a stranger who pushes without end has the log read no more often than that."""


class Listener:
    """A thread that listens, started with the first question.

    Args:
        pool: where connections come from; this one is not of the pool.
        look: returns a value which differs once anything was committed, None if the log is not
            to be trusted. It runs in the thread.
        max_staleness: seconds for which what was heard counts; 0: never.
        watchers: whom to call after changes.
    """

    def __init__(
        self,
        pool: Pool,
        look: Callable[[Connection], object | None],
        max_staleness: float,
        watchers: Watchers,
    ) -> None:
        self._pool = pool
        self._look = look
        self._max_staleness = max_staleness
        self._watchers = watchers
        beat = max_staleness / _BEATS if max_staleness else _LONGEST_BEAT
        self._beat = min(max(beat, _SHORTEST_BEAT), _LONGEST_BEAT)
        self._process = os.getpid()
        self._heard_at = float("-inf")
        self._version = object()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def changes(self) -> object:
        """Return a value that differs once something was heard of; see `KeyLog.changes`.

        It is like no other if nothing was heard for too long: then the log is to be read. Never
        waits.
        """
        # By this clock what was heard before the machine slept is old.
        if (
            boot_time() - self._heard_at > self._max_staleness
            or self._stopping
            or os.getpid() != self._process  # Python does not know of every fork
        ):
            self._pool.check_open()
            self._start()
            return object()
        return self._version

    def seconds_since_heard(self) -> float:
        """Return how long ago the server last answered; infinity if it never did."""
        return max(0.0, boot_time() - self._heard_at)

    def watch(
        self, on_change: Callable[[], None], name: UUID | str | None = None
    ) -> Callable[[], None]:
        """Call `on_change`, in the listener's thread, after changes; return what ends that."""
        self._pool.check_open()
        stop = self._watchers.add(on_change, name)
        self._start()
        return stop

    def announce(self) -> None:
        """Have what was known count as out of date: something has changed."""
        self._version = object()

    def stop_soon(self) -> None:
        """Have the thread end with its next beat. Takes no lock: a finalizer may hold it."""
        self._stopping = True

    def _start(self) -> None:
        """Have a thread run; if there is none to be had, the next question tries again."""
        if self._stopping or (self._thread is not None and self._thread.is_alive()):
            return
        # Of two that are started at once, the one that is not noted here ends by itself.
        thread = threading.Thread(target=self._run, name="keyturn-listener", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:
            say("the thread that listens for changes cannot be started", error)

    def _is_wanted(self) -> bool:
        """Whether to go on: not if it was closed, or if another thread took over."""
        return not self._stopping and self._thread is threading.current_thread()

    def _run(self) -> None:
        is_lost = False
        while self._is_wanted():
            try:
                with contextlib.closing(self._pool.connect(_LONGEST_REPLY)) as connection:
                    connection.within(_LONGEST_REPLY)
                    connection.execute(f"LISTEN {TABLE}")
                    if is_lost:
                        is_lost = False
                        get_logger().warning("the log is back", log=self._pool.location)
                    self._follow(connection)
            except Exception as error:  # noqa: BLE001 - no error may end it for good
                if not is_lost and self._is_wanted():
                    is_lost = True
                    text = " ".join(str(error).split()) or type(error).__name__
                    get_logger().warning("the log is lost", log=self._pool.location, error=text)
                self._pool.retire()  # what broke this one has broken the others, too
                time.sleep(_BETWEEN_TRIES)

    def _follow(self, connection: Connection) -> None:
        """Listen until the connection breaks or the listener is stopped."""
        known: object = object()
        pushed = False
        while self._is_wanted():
            asked_at = boot_time()
            connection.within(_LONGEST_REPLY)
            found = self._look(connection)
            if pushed or found != known:
                known = found
                self.announce()  # the first time of whatever nobody listened to
                self._watchers.call()
            self._heard_at = float("-inf") if found is None else asked_at
            if pushed:
                time.sleep(_BETWEEN_PUSHES)
            pushed = bool(list(connection.notifies(timeout=self._beat, stop_after=1)))
