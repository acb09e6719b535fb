"""One thread for all that has to be looked at now and then in this process."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from keyturn.config.logging import get_logger

SLICE = 30.0
"""Seconds that are waited for at once, and no more: a machine that slept, or whose clock was
set, is noticed that much later at the most."""

_SHORTEST = 0.01

Tick = Callable[[], float]
"""Returns in how many seconds to call it again. It must not wait: others are called after it."""


@dataclass(order=True, slots=True)
class _Turn:
    """When to call; None is not called: it was removed."""

    at: float
    number: int
    tick: Tick | None = field(compare=False)


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
        self._added: dict[Tick, _Turn] = {}
        self._queue: list[_Turn] = []  # a heap
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, tick: Tick) -> None:
        """Call it, at once to begin with."""
        with self._changed:
            self._drop(tick)
            self._enqueue(tick, 0.0)
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
            self._drop(tick)
            self._changed.notify()

    def _enqueue(self, tick: Tick, seconds: float) -> None:
        turn = _Turn(time.monotonic() + seconds, next(self._numbers), tick)
        self._added[tick] = turn
        heapq.heappush(self._queue, turn)

    def _drop(self, tick: Tick) -> None:
        turn = self._added.pop(tick, None)
        if turn is not None:
            turn.tick = None

    def _run(self) -> None:
        while turn := self._wait():
            tick = turn.tick
            if tick is None:
                continue
            seconds = self._call(tick)
            with self._changed:
                if turn.tick is not None:
                    self._enqueue(tick, seconds)

    def _wait(self) -> _Turn | None:
        """Return the next turn once it has come; None: this thread is not needed any more."""
        with self._changed:
            while self._added:
                left = self._queue[0].at - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._queue)
                self._changed.wait(left)
            self._queue.clear()
            self._thread = None
            return None

    def _call(self, tick: Tick) -> float:
        try:
            return min(max(tick(), _SHORTEST), self._slice)
        except Exception as error:  # noqa: BLE001 - a host's clock may raise; the others go on
            get_logger().error("a tick failed", error=type(error).__name__)
            return self._slice


process_ticker = Ticker()
"""The ticker of this process."""

os.register_at_fork(after_in_child=process_ticker.begin_anew)
