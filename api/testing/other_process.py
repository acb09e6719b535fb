"""What another process does that shares the log and the key ring of a service under test.

It has an event log of its own on the same store, and reads and writes it as any process does:
nothing that goes wrong for the service under test goes wrong here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

from eventsourcing.persistence import StoredEvent

from keyturn.actors.key_writer import new_secret
from keyturn.config.clock import Clock
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.config.store_url import MEMORY
from keyturn.domain.head import Head
from keyturn.domain.session_keys import SessionKeys
from keyturn.projections.head_reader import HeadReader
from keyturn.testing.comparing import Dated
from keyturn.testing.events import EventSpec, Generated, check_events, with_times

_ALL = 2**62


class OtherProcess:
    """Another process on the same log.

    Args:
        store: where the log lies, without what goes wrong for others.
        key_ring: that of the service under test.
        own: the manager under test: events that name none are of its keys.
        clock: that of the service under test.
        host_topics: of events of the host.
    """

    def __init__(
        self,
        store: MemoryStore,
        key_ring: KeyRing,
        own: str,
        clock: Clock,
        host_topics: Collection[str] = (),
    ) -> None:
        self.store = store
        self.key_ring = key_ring
        self.own = own
        self.clock = clock
        self._host_topics = frozenset(host_topics)

    @cached_property
    def log(self) -> EventLog:
        """The log, as this process has it."""
        return EventLog(lambda: self.store, MEMORY, self._host_topics)

    def head(self, manager: str | None = None) -> Head:
        """Return the head of a manager; None: of the one under test."""
        name = self.own if manager is None else manager
        return HeadReader(self.log, name, self.key_ring.node_id).get()

    def rows(self) -> Sequence[StoredEvent]:
        """Return what was written, of all managers and of the host."""
        return self.store.select_notifications(None, _ALL)

    def dated(self, events: Sequence[EventSpec]) -> list[Dated]:
        """Return when each is to happen; a manager that is new begins with `Generated`.

        Raises:
            TypeError: one of them is no event.
            ValueError: one of them says its time in a way that is none.
        """
        check_events(events)
        heads = {name: self.head(name) for name in dict.fromkeys(map(self._manager, events))}
        whole: list[EventSpec] = []
        begun = {name for name, head in heads.items() if head.position > 0}
        for event in events:
            name = self._manager(event)
            if name not in begun and not isinstance(event, Generated):
                whole.append(Generated(manager=event.manager))
            begun.add(name)
            whole.append(event)
        last = [head.keys.modified_on for head in heads.values() if head.position > 0]
        timed = with_times(whole, self.clock(), after=max(last, default=None))
        return [Dated(event, at) for event, at in timed]

    def write(self, events: Sequence[Dated]) -> None:
        """Have these happen, in one commit."""
        drafts: dict[str, SessionKeys] = {}
        for event in events:
            name = self._manager(event.spec)
            keys = drafts.get(name) or drafts.setdefault(name, self.head(name).keys.draft())
            assert event.at is not None
            event.spec.happen(keys, new_secret(), self.key_ring, event.at)
        self.log.append(*drafts.values())

    def _manager(self, event: EventSpec) -> str:
        return event.manager if isinstance(event.manager, str) else self.own
