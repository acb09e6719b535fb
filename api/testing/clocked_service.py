"""A real service in memory, whose clock a test moves and whose store a test breaks."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from eventsourcing.domain import Aggregate

from keyturn.actors.asking import ActorStoppedError, ask
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.rotation_timer import RotateIfDue
from keyturn.actors.session_manager import SessionManager
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import open_event_log
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.service import Service
from keyturn.testing.events import EventSpec
from keyturn.testing.faults import Faults
from keyturn.testing.faulty_store import FaultyStore
from keyturn.testing.manual_clock import ManualClock
from keyturn.testing.other_process import OtherProcess


class ClockedService(Service):
    """A `Service` whose clock a test moves: `service.clock.advance(3600)`.

    Attributes:
        faults: what goes wrong: `service.faults.down()`.
    """

    faults: Faults
    other: OtherProcess

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
        assert self.faults.elsewhere is not None
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

    def use(self, other: OtherProcess, faults: Faults) -> Self:
        """Share a store with another process, through a door at which things go wrong."""
        self.other, self.faults = other, faults
        faults.attach(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_value, traceback)
        if exc_value is None:
            self.faults.check_all_happened()

    def _open_named(self, name: str, create: bool) -> Self:
        service = super()._open_named(name, create).use(self.other, self.faults)
        if self.clock.drives(self):
            self.clock.drive(service)
        return service


class Workbench:
    """What a service under test is made of, before it starts.

    Args:
        options: of the manager under test.
        clock: None: one of its own, which stands at the time of now.
        aggregates: classes of the host's own aggregates in the same log.
    """

    def __init__(
        self,
        options: ManagerOptions,
        clock: ManualClock | None = None,
        aggregates: Collection[type[Aggregate]] = (),
    ) -> None:
        self.options = options
        self.clock = clock or ManualClock()
        self.faults = Faults()
        store, key_ring = MemoryStore(), KeyRing.ephemeral()
        topics: Collection[str] = ()
        if aggregates:
            topics = open_event_log(MEMORY, aggregates=aggregates).host_topics
        self.other = OtherProcess(store, key_ring, options.name, self.clock, topics)
        self.faults.elsewhere = self.other.do
        self._log = EventLog(lambda: FaultyStore(store, self.faults), MEMORY, frozenset(topics))

    def name(self, name: str) -> None:
        """Have the manager under test be another one."""
        self.options = replace(self.options, name=name)
        self.other.own = name

    def start(self) -> ClockedService:
        """Return a service on the log, which may hold a history already."""
        parts = ManagerParts.of(self._log, self.other.key_ring, self.options, clock=self.clock)
        service = ClockedService(parts, self._log, _start_manager)
        self.clock.drive(service.use(self.other, self.faults))
        return service

    def close(self) -> None:
        """Close the log, if no service did."""
        self._log.close()


_start_manager: Any = partial(SessionManager.start_on, ticker=None)


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
    return Workbench(options, clock, aggregates).start()
