"""Watches the log of a store that pushes nothing: a thread asks for changes now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable

from keyturn.domain.errors import LogClosedError, LogError

POLL_SECONDS = 0.02


class ChangePoller:
    """One thread for all who watch a log, as long as there are any.

    Args:
        changes: what `KeyLog.changes` is now.
    """

    def __init__(self, changes: Callable[[], object]) -> None:
        self._changes = changes
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._is_running = False

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` after commits, whoever made them; return what ends that."""
        with self._lock:
            self._watchers.append(on_change)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="keyturn-watcher", daemon=True).start()

        def stop() -> None:
            with self._lock:
                self._watchers.remove(on_change)

        return stop

    def _run(self) -> None:
        seen: object = None
        pause = threading.Event()
        while self._goes_on():
            try:
                changes = self._changes()
            except LogClosedError:
                return
            except LogError:  # its file is gone, perhaps to come back
                changes = seen
            if changes != seen:
                seen = changes
                for on_change in list(self._watchers):
                    on_change()
            pause.wait(POLL_SECONDS)

    def _goes_on(self) -> bool:
        with self._lock:
            self._is_running = bool(self._watchers)
            return self._is_running
