"""The time that decides about expiry: wall time that never runs backwards in a process."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""A source of the time, in seconds since the epoch."""


class SteadyClock:
    """Wall time that goes on at its own pace when the system's clock is set back.

    A clock that was set back would otherwise bring expired tokens back to life. A clock set
    forward is followed at once.
    """

    def __init__(self, wall: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = float("-inf")
        self()

    def __call__(self) -> float:
        """Return seconds since the epoch, never less than an earlier call did."""
        # Wall first: a thread held up between the two lines then sees a smaller offset,
        # which is ignored, and never a larger one, which would stay.
        offset = self._wall()
        now = self._monotonic()
        offset -= now
        self._offset = max(self._offset, offset)
        return now + self._offset


steady_time: Clock = SteadyClock()
"""The clock of this process."""
