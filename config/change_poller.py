"""Who watches a log, and the thread that asks a store which pushes nothing for changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import cached_property
from uuid import UUID

from eventsourcing.persistence import Notification

from keyturn.config.logging import get_logger
from keyturn.config.store import Store
from keyturn.domain.errors import LogClosedError

POLL_SECONDS = 0.02
_MOST_ROWS = 100
"""If more were written at once, everybody is called."""

OnChange = Callable[[], None]
_Name = UUID | str | None


class Watchers:
    """Functions that are called after commits. Safe to use from any thread.

    Each watches one aggregate, or all of them, so that a change of one manager costs the others
    nothing. Who checks tokens does not rely on it: it reads after any commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: list[tuple[_Name, OnChange]] = []
        self._lock = threading.Lock()
        self._newest: int | None = None

    def __bool__(self) -> bool:
        return bool(self._watchers)

    def add(self, on_change: OnChange, name: _Name) -> Callable[[], None]:
        """Call a function after commits to this aggregate; return what ends that."""
        watcher = (name, on_change)
        with self._lock:
            self._watchers = [*self._watchers, watcher]

        def stop() -> None:
            with self._lock:
                self._watchers = [other for other in self._watchers if other is not watcher]

        return stop

    def call(self) -> None:
        """Call those whose aggregates were written to; one that fails stops no other."""
        watchers = self._watchers
        if not watchers:
            self._newest = None
            return
        changed = self._changed()
        for name, on_change in watchers:
            if changed is None or name is None or name in changed:
                try:
                    on_change()
                except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs
                    say("a watcher of the log failed", error)

    def _changed(self) -> set[UUID | str] | None:
        """Return what was written to since the last call; None: nobody knows."""
        newest, self._newest = self._newest, None
        try:
            rows: Collection[Notification] = ()
            if newest is not None:
                rows = self._store.select_notifications(
                    newest, _MOST_ROWS, inclusive_of_start=False
                )
            if 0 < len(rows) < _MOST_ROWS:
                self._newest = max(row.id for row in rows)
                return {row.originator_id for row in rows}
            self._newest = self._store.max_notification_id()
        except Exception:  # noqa: BLE001, S110 - who reads next gets it
            pass
        return None


class ChangePoller:
    """One thread for all who watch a log, as long as there are any.

    Args:
        changes: what `KeyLog.changes` is.
        watchers: whom to call.
    """

    def __init__(self, changes: Callable[[], object], watchers: Watchers) -> None:
        self._changes = changes
        self._watchers = watchers
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, on_change: OnChange, name: _Name = None) -> Callable[[], None]:
        """Call `on_change` after commits of any process; return what ends that."""
        stop = self._watchers.add(on_change, name)
        self.make_sure_it_runs()
        return stop

    def make_sure_it_runs(self) -> None:
        """Start the thread if somebody watches and it does not run.

        One that could not be started, because the system has no room for it, is started with
        the next call; until then nobody is told.
        """
        if not self._watchers or self._runs():
            return
        with self._lock:
            if self._runs():
                return
            # Noted first: one whose start is interrupted ends by itself, or does not run.
            self._thread = threading.Thread(target=self._run, name="keyturn-watcher", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                say("the thread that watches the log cannot be started", error)

    def _runs(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _run(self) -> None:
        seen: object = None
        pause = threading.Event()
        while self._goes_on():
            try:
                changes = self._changes()
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - its file is gone, perhaps to come back
                changes = seen
            if changes != seen:
                seen = changes
                self._watchers.call()
            pause.wait(POLL_SECONDS)

    def _goes_on(self) -> bool:
        with self._lock:
            if self._thread is not threading.current_thread():
                return False
            if not self._watchers:
                self._thread = None
            return self._thread is not None


class PolledStore(Store):
    """A store that pushes nothing, so that a thread asks it for whoever watches."""

    @cached_property
    def _poller(self) -> ChangePoller:
        return ChangePoller(self.changes, Watchers(self))

    def watch(
        self, on_change: OnChange, originator_id: UUID | str | None = None
    ) -> Callable[[], None]:
        return self._poller.watch(on_change, originator_id)


def say(what: str, error: Exception) -> None:
    """Log what a thread in the background goes on after."""
    get_logger().error(what, error=type(error).__name__)
