"""One thread for all that has to be looked at now and then in this process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from keyturn.config.logging import get_logger

SLICE = 30.0
"""Seconds that are waited for at once, and no more: a machine that slept, or whose clock was
set, is noticed that much later at the most."""

_SHORTEST = 0.01

Tick = Callable[[], float]
"""Returns in how many seconds to call it again. It must not wait: others are called after it."""


class Ticker:
    """Calls each function that was added again and again. Safe to use from any thread.

    Its thread is there as long as there is something to call.

    Args:
        slice_seconds: each is called at least that often.
    """

    def __init__(self, slice_seconds: float = SLICE) -> None:
        self._slice = slice_seconds
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything: after a fork the thread is gone, and a lock may be held for ever."""
        self._changed = threading.Condition()
        self._due: dict[Tick, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, tick: Tick) -> None:
        """Call it, at once to begin with."""
        with self._changed:
            self._due[tick] = time.monotonic()
            self._changed.notify()
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="keyturn-ticker", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # tried again with the next one that is added
                    get_logger().error("nothing can be timed now", error=str(error))
                else:
                    self._thread = thread

    def remove(self, tick: Tick) -> None:
        """Call it no more; a call that is under way may still end. Does nothing if not added."""
        with self._changed:
            self._due.pop(tick, None)
            self._changed.notify()

    def _run(self) -> None:
        while ticks := self._wait():
            for tick, at in ticks:
                seconds = self._call(tick)
                with self._changed:
                    if self._due.get(tick) == at:  # else it was removed or added meanwhile
                        self._due[tick] = time.monotonic() + seconds

    def _wait(self) -> list[tuple[Tick, float]]:
        """Return what is due, once something is; nothing: this thread is not needed any more."""
        with self._changed:
            while self._due:
                now = time.monotonic()
                if due := [(tick, at) for tick, at in self._due.items() if at <= now]:
                    return due
                self._changed.wait(min(self._due.values()) - now)
            self._thread = None
            return []

    def _call(self, tick: Tick) -> float:
        try:
            return min(max(tick(), _SHORTEST), self._slice)
        except Exception as error:  # noqa: BLE001 - a host's clock may raise; the others go on
            get_logger().error("a tick failed", error=type(error).__name__)
            return self._slice


process_ticker = Ticker()
"""The ticker of this process."""

os.register_at_fork(after_in_child=process_ticker.begin_anew)
