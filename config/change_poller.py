"""Watches the log of a store that pushes nothing: a thread asks for changes now and then."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence

from keyturn.config.logging import get_logger
from keyturn.domain.errors import LogClosedError, LogError

POLL_SECONDS = 0.02


def call_all(watchers: Sequence[Callable[[], None]]) -> None:
    """Call everybody who watches; one that fails keeps it from nobody else."""
    for on_change in list(watchers):
        try:
            on_change()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is theirs
            get_logger().error("a watcher of the log failed", error=type(error).__name__)


class ChangePoller:
    """One thread for all who watch a log, as long as there are any.

    Args:
        changes: what `KeyLog.changes` is now.
    """

    def __init__(self, changes: Callable[[], object]) -> None:
        self._changes = changes
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._runs_in: int | None = None

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` after commits, whoever made them; return what ends that."""
        with self._lock:
            self._watchers.append(on_change)
            if self._runs_in != os.getpid():  # nor does the thread of a parent run here
                self._runs_in = os.getpid()
                threading.Thread(target=self._run, name="keyturn-watcher", daemon=True).start()

        def stop() -> None:
            with self._lock, contextlib.suppress(ValueError):
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
                call_all(self._watchers)
            pause.wait(POLL_SECONDS)

    def _goes_on(self) -> bool:
        with self._lock:
            if not self._watchers:
                self._runs_in = None
            return bool(self._watchers)
