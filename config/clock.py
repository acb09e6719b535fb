"""The time that decides about expiry: wall time that never runs backwards in a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""A source of the time, in seconds since the epoch."""


def steady_clock(wall: Clock = time.time, monotonic: Clock = time.monotonic) -> Clock:
    """Return a clock that goes on at its own pace when the system's clock is set back.

    A clock that was set back would otherwise bring expired tokens back to life. A clock set
    forward is followed at once.
    """
    offset = float("-inf")

    def now() -> float:
        nonlocal offset
        # Wall first: a thread held up between the two lines then sees a smaller offset, which
        # is ignored, and never a larger one, which would stay.
        found = wall()
        elapsed = monotonic()
        found -= elapsed
        if found > offset:  # noqa: PLR1730  # a third of the time of `max`
            offset = found
        return elapsed + offset

    return now


steady_time = steady_clock()
"""The clock of this process."""


_LASTING = int(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_time() -> float:
    """Return seconds that nobody sets, and that go on while the machine sleeps.

    Where the system has no such clock, they may stand still meanwhile.
    """
    return time.clock_gettime(_LASTING)


def lasting_clock(clock: Clock) -> Clock:
    """Return the clock by which to tell how long something has lasted.

    That is the system's, unless the clock is not this process's own but one that a test brought.
    """
    return boot_time if clock is steady_time else clock


def time_of_event(clock: Clock) -> datetime:
    """Return the time to record for a change.

    That is the system's, so that the record shows a clock that was set back; unless the clock
    is not this process's own but one that a test brought.
    """
    return datetime.now(UTC) if clock is steady_time else datetime.fromtimestamp(clock(), UTC)
