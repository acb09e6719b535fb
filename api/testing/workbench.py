"""A service under test with all that it is made of: its log, its clock, and who else writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from eventsourcing.domain import Aggregate
from eventsourcing.persistence import StoredEvent
from msgspec import UNSET

from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.config.store_url import MEMORY
from keyturn.config.stores import open_event_log
from keyturn.domain.key_events import KeysDestroyed
from keyturn.domain.options import DEFAULT_EXPIRY, ManagerOptions
from keyturn.domain.session_keys import manager_id
from keyturn.testing.clocked_service import ClockedService, serve
from keyturn.testing.events import EventSpec, Generated, check_events
from keyturn.testing.faults import Faults
from keyturn.testing.faulty_store import FaultyStore
from keyturn.testing.manual_clock import ManualClock
from keyturn.testing.other_process import OtherProcess


class Workbench:
    """What a service under test is made of; it starts when it is first asked for.

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
        self.faults = Faults(self.happen)
        self.started: ClockedService | None = None
        self.has_only_its_own_key = False
        self.has_told_others = False
        store, topics = MemoryStore(), _topics(aggregates)
        self.other = OtherProcess(store, KeyRing.ephemeral(), options.name, self.clock, topics)
        self.door = FaultyStore(store, self.faults)
        self._log = EventLog(lambda: self.door, MEMORY, topics)

    @property
    def service(self) -> ClockedService:
        """The service under test."""
        if self.started is None:
            self.has_only_its_own_key = self.other.head().position == 0
            self.started = serve(
                self._log, self.other.key_ring, self.options, self.clock, self.faults
            )
            self.door.written.clear()
        return self.started

    def happen(self, *events: EventSpec) -> None:
        """Have another process do this."""
        check_events(events)
        own = [event for event in events if event.manager in (UNSET, self.other.own)]
        if own and isinstance(own[0], Generated):
            self.forget_own_key()
        dated = self.other.dated(events)
        if self.started is None:  # it starts before a history that ends with a destroy does
            are_own = [e.spec.manager in (UNSET, self.other.own) for e in dated]
            begun = are_own.index(True) + 1 if any(are_own) else 0
            self.other.write(dated[:begun])
            _ = self.service
            dated = dated[begun:]
        self.other.write(dated)

    def fill(self, rows: Sequence[StoredEvent], own: str) -> None:
        """Have these rows be the history, and a manager of it the one under test.

        The service starts before the end of a history whose keys are destroyed in the end.
        """
        self.options = replace(self.options, name=own)
        self.other.own = own
        self.forget_own_key()
        of_own = [row for row in rows if row.originator_id == manager_id(own)]
        is_over = len(of_own) > 1 and of_own[-1].topic == KeysDestroyed.TOPIC
        end = of_own[-1:] if is_over else []
        before = [row for row in rows if row is not end[0]] if end else rows
        self.other.store.insert_events(before, may_begin_anywhere=True)
        _ = self.service
        self.other.store.insert_events(end)

    def forget_own_key(self) -> None:
        """Let the history begin anew, as long as it is only the key of the service's start."""
        if self.has_only_its_own_key and self.other.head().position == 1:
            if self.has_told_others:
                raise ValueError(
                    "give a history that begins with Generated before its subscribers"
                )
            self.other.store.remove(manager_id(self.other.own))
            self.service.begin_anew()
        self.has_only_its_own_key = False

    def close(self) -> None:
        """Close the service and its log."""
        if self.started is not None:
            self.started.close()
        self._log.close()


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
    return Workbench(options, clock, aggregates).service


def _topics(aggregates: Collection[type[Aggregate]]) -> frozenset[str]:
    if not aggregates:
        return frozenset()
    with_topics = open_event_log(MEMORY, aggregates=aggregates)
    with_topics.close()
    return with_topics.host_topics
