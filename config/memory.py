"""A log in memory: for tests, and for hosts whose sessions need not outlive the process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder
from eventsourcing.popo import POPOApplicationRecorder, POPOFactory

from keyturn.config.change_poller import ChangePoller
from keyturn.domain.key_log import Row


class MemoryStore:
    """One log of this process."""

    location = "memory:"
    is_server = False

    def __init__(self) -> None:
        self.factory = POPOFactory({})
        self._recorder = _Recorder()
        self.changes: Callable[[], object] = self._recorder.changes
        self.watch = ChangePoller(self.changes).watch

    def recorder(self) -> ApplicationRecorder:
        return self._recorder

    def refuse_alien_topics(self, host_topics: Collection[str]) -> None:
        """Nobody else can have written here."""

    def alone(self) -> AbstractContextManager[None]:
        """Nobody is kept out: who was too late tries again, which takes no time here."""
        return nullcontext()

    def purge(self, originator_id: UUID) -> None:
        self._recorder.purge(originator_id)

    def rows(self) -> Iterator[Row]:
        return self._recorder.rows()

    def reopen(self) -> bool:
        """There is nothing to open."""
        return True

    def stop_soon(self) -> None:
        """There is no thread that nobody else ends."""

    def close(self) -> None:
        """There is nothing to close."""


class _Recorder(POPOApplicationRecorder):
    def __init__(self) -> None:
        super().__init__()
        self._purges = 0

    def changes(self) -> object:
        return self._purges, len(self._stored_events)

    def rows(self) -> Iterator[Row]:
        with self._database_lock:
            stored = list(self._stored_events)
        for event in stored:
            id_ = event.originator_id
            name = id_.hex if isinstance(id_, UUID) else id_
            yield Row(name, event.originator_version, event.topic, event.state)

    def purge(self, originator_id: UUID) -> None:
        with self._database_lock:
            kept = [e for e in self._stored_events if e.originator_id != originator_id]
            self._stored_events.clear()
            self._stored_events_index.clear()
            self._update_table(kept)
            self._purges += 1
