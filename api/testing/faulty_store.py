"""A real store behind a door at which things go wrong: see `faults`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from eventsourcing.persistence import StoredEvent

from keyturn.config.store import Store
from keyturn.testing.faults import Faults


def _own(name: str) -> Any:
    """Return a method that is the store's own."""
    return lambda self, *args, **kwargs: getattr(self.store, name)(*args, **kwargs)


def _reading(name: str) -> Any:
    """Return a method that is the store's own, as long as reading does not go wrong."""

    def method(self: FaultyStore, *args: Any, **kwargs: Any) -> Any:
        self.faults.strike(writing=False)
        return getattr(self.store, name)(*args, **kwargs)

    return method


class FaultyStore(Store):
    """What a service under test takes for its store.

    Args:
        store: the real one.
        faults: what goes wrong at the moment.

    Attributes:
        written: the events that came through this door, in the order of writing.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self.store = store
        self.faults = faults
        self.written: list[StoredEvent] = []
        self._heard: object = None
        self._is_cut = False
        self.location = store.location
        self.table = store.table
        self.is_server = store.is_server

    def insert(self, events: Iterable[StoredEvent], may_begin_anywhere: bool) -> Sequence[int]:
        coming = list(events)
        numbers: Sequence[int] = self._commit(
            coming, lambda: self.store.insert(coming, may_begin_anywhere)
        )
        return numbers

    def purge(self, last: StoredEvent) -> None:
        self._commit([last], lambda: self.store.purge(last))

    def _commit(self, events: list[StoredEvent], write: Callable[[], Any]) -> Any:
        self.faults.strike(writing=True)
        self.faults.happen("before_commit")
        kept = self.faults.happen("unknown_commit")
        result = None
        if kept is None or kept:
            result = write()
            self.written += events
        if kept is not None:
            self._is_cut = True
            raise _cut()
        return result

    def exclusive(self) -> AbstractContextManager[None]:
        self.faults.strike(writing=True)
        return self.store.exclusive()

    def reopen(self) -> bool:
        if self._is_cut:
            self._is_cut = False
            raise _cut()
        self.faults.strike(writing=False)
        return self.store.reopen()

    def changes(self) -> object:
        if self.faults.is_down:
            return object()  # as of no change that is known: so the log must be read
        if not self.faults.is_deaf:
            self._heard = self.store.changes()
        return self._heard

    select_events = _reading("select_events")
    numbered = _reading("numbered")
    max_notification_id = _reading("max_notification_id")
    rows = _reading("rows")
    newest_rows = _reading("newest_rows")
    unknown_topic = _reading("unknown_topic")
    schema_problems = _reading("schema_problems")
    watch = _own("watch")
    seconds_since_heard = _own("seconds_since_heard")
    stop_soon = _own("stop_soon")
    close = _own("close")


def _cut() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "the connection was lost")
