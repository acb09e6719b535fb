"""A real service in memory, whose clock a test moves and whose store a test breaks."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Self

from keyturn.actors.asking import ActorStoppedError, ask
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.rotation_timer import RotateIfDue
from keyturn.actors.session_manager import SessionManager
from keyturn.domain.options import ManagerOptions
from keyturn.service import Service
from keyturn.testing.events import EventSpec
from keyturn.testing.faults import Faults
from keyturn.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from keyturn.config.event_log import EventLog
    from keyturn.config.local_key_ring import KeyRing


class ClockedService(Service):
    """A `Service` whose clock a test moves: `service.clock.advance(3600)`.

    Attributes:
        faults: what goes wrong with it: `service.faults.down()`.
    """

    faults: Faults

    @property
    def clock(self) -> ManualClock:
        """The time that decides about expiry."""
        clock = self.parts.clock
        assert isinstance(clock, ManualClock)
        return clock

    def elsewhere(self, *events: EventSpec) -> None:
        """Have another process that shares the log do this, at once.

        Args:
            events: `Reset()`, `SessionEnded(sid=…)`, `Destroyed()` and so on: see `Replay.given`.
        """
        self.faults.elsewhere(*events)

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

    def join(self, faults: Faults) -> Self:
        """Have these go wrong, and the clock look whether the key is due."""
        self.faults = faults
        faults.attach(self)
        self.clock.drive(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        if exc_info[0] is None:
            self.faults.check_all_happened()

    def _open_named(self, name: str, create: bool) -> Self:
        return super()._open_named(name, create).join(self.faults)


def serve(
    log: EventLog,
    key_ring: KeyRing,
    options: ManagerOptions,
    clock: ManualClock,
    faults: Faults | None = None,
) -> ClockedService:
    """Return a service on a log that may hold a history already."""
    parts = ManagerParts(log, key_ring, options, clock=clock)
    service = ClockedService(parts, log, partial(SessionManager.start_on, ticker=None))
    return service.join(faults or Faults())
