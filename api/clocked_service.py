"""A real service in memory, whose clock a test moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime

import pykka
from eventsourcing.domain import Aggregate

from keyturn.actors.session_manager import DEFAULT_EXPIRY, SessionManager
from keyturn.actors.subscribers import Subscribers
from keyturn.config.event_log import EventLog
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import open_event_log
from keyturn.domain.key_ring import KeyRing
from keyturn.service import Service


class ManualClock:
    """A clock that stands still until it is told to go on. Safe to use from any thread.

    Args:
        start: seconds since the epoch; None: the time of now.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else float(start)
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return its time, in seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds; never back."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(
                f"a clock goes on by a finite number of seconds ≥ 0, not {seconds!r}"
            )
        with self._lock:
            self._now += seconds

    def __repr__(self) -> str:
        return f"<ManualClock at {datetime.fromtimestamp(self._now, UTC).isoformat()}>"


class ClockedService(Service):
    """A `Service` whose clock a test moves: `service.clock.advance(3600)`."""

    @property
    def clock(self) -> ManualClock:
        """The time that decides about expiry."""
        assert isinstance(self._clock, ManualClock)
        return self._clock

    def begin_anew(self) -> None:
        """Forget the history that was seen: a replay writes another one in its place."""
        self._keys.forget_history()


def open_service(
    *,
    name: str = "default",
    expiry: float | None = DEFAULT_EXPIRY,
    max_lifetime: float | None = None,
    aggregates: Collection[type[Aggregate]] = (),
    clock: ManualClock | None = None,
) -> ClockedService:
    """Open a service in memory: what the fixture `keyturn_service` is.

    No file and no setting from outside has a part in it.

    Args:
        name: which manager of the log.
        expiry: seconds that a token lives; None: for ever.
        max_lifetime: seconds that a session lasts, however often refreshed; None: for ever.
        aggregates: classes of the host's own aggregates in the same log.
        clock: the clock; None: one of its own, which stands at the time of now.
    """
    log, clock = open_event_log(MEMORY, aggregates=aggregates), clock or ManualClock()
    return serve(log, KeyRing.ephemeral(), clock, name, expiry, max_lifetime)


def serve(
    log: EventLog,
    key_ring: KeyRing,
    clock: ManualClock,
    name: str,
    expiry: float | None,
    max_lifetime: float | None,
) -> ClockedService:
    """Return a service on a log in memory that may hold a history already."""

    def start_manager(replacing: Subscribers | None = None) -> pykka.ActorRef[SessionManager]:
        return SessionManager.start(
            log,
            key_ring,
            expiry,
            name,
            max_lifetime=max_lifetime,
            clock=clock,
            subscribers=replacing,
            is_first_start=replacing is None,
        )

    return ClockedService(start_manager(), start_manager, log, name, None, clock)
