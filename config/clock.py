"""The time that decides about expiry: wall time that never runs backwards in a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from keyturn.config.logging import get_logger

Clock = Callable[[], float]
"""A source of the time, in seconds since the epoch."""


MAX_AHEAD = 2 * 60 * 60.0
"""Seconds that the clock of a process may run ahead of the system's at most."""

_LASTING = int(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
_logger = get_logger()


def boot_time() -> float:
    """Return seconds that nobody sets, and that go on while the machine sleeps.

    Where the system has no such clock, they may stand still meanwhile.
    """
    return time.clock_gettime(_LASTING)


def steady_clock(
    wall: Clock, monotonic: Clock, lasting: Clock
) -> tuple[Clock, Callable[[], None]]:
    """Return a clock that goes on at its own pace when the system's clock is set back.

    A clock that was set back would otherwise bring expired tokens back to life. A clock set
    forward is followed at once. One that is set back by more than `MAX_AHEAD` is followed too:
    it was wrong before, and what a moment in the wrong year did would last until the process
    ends. But never to before the first reading and the time since then, so that what has
    expired meanwhile stays so. Either leap is logged.

    Args:
        wall: the system's time, which somebody may set.
        monotonic: seconds that nobody sets, and that may stand still while the machine sleeps.
        lasting: the same, going on meanwhile: a machine that slept is not warned about.

    Returns:
        The clock, and what has it forget the past.
    """
    offset = lasting_offset = floor = float("-inf")
    is_held = False

    def now() -> float:
        nonlocal offset
        # Wall first: a thread held up between the two lines then sees a smaller offset, which
        # is ignored, and never a larger one, which would stay.
        found = wall()
        elapsed = monotonic()
        found -= elapsed
        if found > offset:
            ahead, offset = found - offset, found
            if ahead > MAX_AHEAD:
                look_at_leap(elapsed + found)
        elif offset - found > MAX_AHEAD:
            follow_back()
        return elapsed + offset

    def look_at_leap(at: float) -> None:
        nonlocal lasting_offset, floor
        before, lasting_offset = lasting_offset, at - lasting()
        if before == float("-inf"):  # the first reading
            floor = lasting_offset
        leap = lasting_offset - before
        if MAX_AHEAD < leap < float("inf"):
            _logger.warning("the clock went forward", seconds=round(leap))

    def follow_back() -> None:
        nonlocal offset, lasting_offset, is_held
        # Once more: maybe this thread was only held up.
        system, least = wall(), floor + lasting()
        found = max(system, least) - monotonic()
        ahead = offset - found
        if ahead > MAX_AHEAD:
            offset, lasting_offset = found, max(system, least) - lasting()
            _logger.warning("the clock was set back", seconds=round(ahead))
        if least - system > MAX_AHEAD and not is_held:
            is_held = True
            _logger.warning(
                "the clock was set back to before this process began, which does not follow: "
                "if it is right now, start the process anew",
                seconds=round(least - system),
            )

    def reset() -> None:
        nonlocal offset, lasting_offset, floor, is_held
        offset = lasting_offset = floor = float("-inf")
        is_held = False

    return now, reset


steady_time, reset_steady_time = steady_clock(time.time, time.monotonic, boot_time)
"""The clock of this process; and what has it forget the past, for tests that travel in time."""


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
