"""The clock of a test: it stands still until it is told to go on."""

from __future__ import annotations

import threading
import time
import weakref
from datetime import UTC, datetime
from typing import Protocol


class Driven(Protocol):
    """What looks at the time when the clock has gone on."""

    def rotate_if_due(self) -> None: ...


class ManualClock:
    """A clock that stands still until it is told to go on. Safe to use from any thread.

    Args:
        start: seconds since the epoch, or an aware datetime; None: the time of now.
    """

    def __init__(self, start: float | datetime | None = None) -> None:
        if isinstance(start, datetime):
            start = _seconds(start)
        # Whole microseconds, as events are dated by: or else an hour later is not quite that.
        self._now = round(time.time() if start is None else float(start), 6)
        self._lock = threading.Lock()
        self._driven: weakref.WeakSet[Driven] = weakref.WeakSet()

    def __call__(self) -> float:
        """Return its time, in seconds since the epoch."""
        return self._now

    @property
    def now(self) -> datetime:
        """Its time, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds, never back; a key that is due by then is rotated."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(
                f"a clock goes on by a finite number of seconds ≥ 0, not {seconds!r}"
            )
        with self._lock:
            self._now = round(self._now + seconds, 6)
            driven = list(self._driven)
        for service in driven:
            service.rotate_if_due()

    def travel_to(self, moment: datetime) -> None:
        """Go on to a moment (an aware datetime), never back: see `advance`."""
        seconds = _seconds(moment) - self._now
        if seconds < 0:
            raise ValueError(
                f"the clock stands at {self.now.isoformat()} and never goes back to "
                f"{moment.isoformat()}: begin there, with ManualClock({moment!r})"
            )
        self.advance(seconds)

    def drive(self, service: Driven) -> None:
        """Have a service look whether its key is due, each time that this clock goes on."""
        with self._lock:
            self._driven.add(service)

    def __repr__(self) -> str:
        return f"<ManualClock at {self.now.isoformat()}>"


def _seconds(moment: datetime) -> float:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} is in no time zone: give an aware datetime")
    return moment.timestamp()
