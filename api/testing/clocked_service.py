"""A real service in memory, whose clock a test moves."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import Self

from eventsourcing.domain import Aggregate

from keyturn.actors.asking import ActorStoppedError, ask
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.rotation_timer import RotateIfDue
from keyturn.actors.session_manager import SessionManager
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import open_event_log
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.service import Service


class ManualClock:
    """A clock that stands still until it is told to go on. Safe to use from any thread.

    Args:
        start: seconds since the epoch; None: the time of now.
    """

    def __init__(self, start: float | None = None) -> None:
        # Whole microseconds, as events are dated by: or else an hour later is not quite that.
        self._now = round(time.time() if start is None else float(start), 6)
        self._lock = threading.Lock()
        self._services: weakref.WeakSet[ClockedService] = weakref.WeakSet()

    def __call__(self) -> float:
        """Return its time, in seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds, never back; a key that is due by then is rotated."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(
                f"a clock goes on by a finite number of seconds ≥ 0, not {seconds!r}"
            )
        with self._lock:
            self._now = round(self._now + seconds, 6)
            services = list(self._services)
        for service in services:
            service.rotate_if_due()

    def drive(self, service: ClockedService) -> None:
        """Have a service look whether its key is due, each time that this clock goes on."""
        with self._lock:
            self._services.add(service)

    def drives(self, service: ClockedService) -> bool:
        """Return whether it was told to do so."""
        return service in self._services

    def __repr__(self) -> str:
        return f"<ManualClock at {datetime.fromtimestamp(self._now, UTC).isoformat()}>"


class ClockedService(Service):
    """A `Service` whose clock a test moves: `service.clock.advance(3600)`."""

    @property
    def clock(self) -> ManualClock:
        """The time that decides about expiry."""
        clock = self.parts.clock
        assert isinstance(clock, ManualClock)
        return clock

    def rotate_if_due(self) -> None:
        """Rotate the key if `rotate_every` says so by now, and tell which overlaps have ended.

        The clock does it when it is moved.
        """
        manager = self.running_manager
        with contextlib.suppress(ActorStoppedError):  # it is started again when it is needed
            if manager is not None:
                ask(manager, RotateIfDue())

    def begin_anew(self) -> None:
        """Forget the history that was seen: a replay writes another one in its place."""
        self.parts.reader.forget()

    def _open_named(self, name: str, create: bool) -> Self:
        service = super()._open_named(name, create)
        if self.clock.drives(self):
            self.clock.drive(service)
        return service


def open_service(
    *,
    name: str = "default",
    expiry: float | None = DEFAULT_EXPIRY,
    max_lifetime: float | None = None,
    rotate_every: float | None = None,
    overlap: int | None = None,
    aggregates: Collection[type[Aggregate]] = (),
    clock: ManualClock | None = None,
) -> ClockedService:
    """Open a service in memory: what the fixture `keyturn_service` is.

    No file and no setting from outside has a part in it.

    Args:
        name: which manager of the log.
        expiry: seconds that a token lives; None: for ever.
        max_lifetime: seconds that a session lasts, however often refreshed; None: for ever.
        rotate_every: seconds after which the key is rotated, once the clock is moved; None: no.
        overlap: whole seconds that tokens under such a key stay good then; None: as long as a
            token lives.
        aggregates: classes of the host's own aggregates in the same log.
        clock: the clock; None: one of its own, which stands at the time of now.
    """
    options = ManagerOptions(
        name=name,
        expiry=expiry,
        max_lifetime=max_lifetime,
        rotate_every=rotate_every,
        overlap=overlap,
    )
    log = open_event_log(MEMORY, aggregates=aggregates)
    return serve(log, KeyRing.ephemeral(), options, clock or ManualClock())


def serve(
    log: EventLog, key_ring: KeyRing, options: ManagerOptions, clock: ManualClock
) -> ClockedService:
    """Return a service on a log in memory that may hold a history already."""
    parts = ManagerParts.of(log, key_ring, options, clock=clock)
    service = ClockedService(parts, log, partial(SessionManager.start_on, ticker=None))
    clock.drive(service)
    return service
