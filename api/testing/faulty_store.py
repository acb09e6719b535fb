"""A real store behind a door at which things go wrong: see `faults`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent

from keyturn.config.store import Store
from keyturn.domain.key_log import Row
from keyturn.testing.faults import Faults


class FaultyStore(Store):
    """What a service under test takes for its store.

    Args:
        store: the real one.
        faults: what goes wrong at the moment.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._heard: object = None
        self._is_cut = False
        self.location = store.location
        self.table = store.table
        self.is_server = store.is_server

    # --- writing ---

    def insert_events(
        self,
        stored_events: Iterable[StoredEvent],
        *,
        may_begin_anywhere: bool = False,
        **kwargs: Any,
    ) -> Sequence[int] | None:
        events = list(stored_events)
        numbers: Sequence[int] | None = self._commit(
            lambda: self._store.insert_events(
                events, may_begin_anywhere=may_begin_anywhere, **kwargs
            )
        )
        return numbers

    def purge(self, last: StoredEvent) -> None:
        self._commit(lambda: self._store.purge(last))

    def _commit(self, write: Callable[[], Any]) -> Any:
        self._faults.strike(writing=True)
        self._faults.happen("before_commit")
        kept = self._faults.happen("unknown_commit")
        if kept is None:
            return write()
        if kept:
            write()
        self._is_cut = True
        raise _cut()

    def exclusive(self) -> AbstractContextManager[None]:
        self._faults.strike(writing=True)
        return self._store.exclusive()

    def remove(self, originator_id: UUID | str) -> None:
        self._store.remove(originator_id)

    def reopen(self) -> bool:
        if self._is_cut:
            self._is_cut = False
            raise _cut()
        self._faults.strike(writing=False)
        return self._store.reopen()

    # --- reading ---

    def changes(self) -> object:
        if self._faults.is_down:
            return object()  # as of no change that is known: so the log must be read
        if not self._faults.is_deaf:
            self._heard = self._store.changes()
        return self._heard

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        self._faults.strike(writing=False)
        return self._store.select_events(originator_id, gt=gt, lte=lte, desc=desc, limit=limit)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        self._faults.strike(writing=False)
        return self._store.select_notifications(
            start, limit, stop, topics, inclusive_of_start=inclusive_of_start
        )

    def max_notification_id(self) -> int | None:
        self._faults.strike(writing=False)
        return self._store.max_notification_id()

    def rows(self) -> Generator[Row, None, None]:
        self._faults.strike(writing=False)
        yield from self._store.rows()

    def newest_rows(self, topics: Collection[str]) -> list[Row]:
        self._faults.strike(writing=False)
        return self._store.newest_rows(topics)

    def unknown_topic(self, known: Collection[str]) -> str | None:
        self._faults.strike(writing=False)
        return self._store.unknown_topic(known)

    def schema_problems(self) -> list[str]:
        self._faults.strike(writing=False)
        return self._store.schema_problems()

    # --- the rest ---

    def watch(
        self, on_change: Callable[[], None], originator_id: UUID | str | None = None
    ) -> Callable[[], None]:
        return self._store.watch(on_change, originator_id)

    def seconds_since_heard(self) -> float:
        return self._store.seconds_since_heard()

    def stop_soon(self) -> None:
        self._store.stop_soon()

    def close(self) -> None:
        self._store.close()


def _cut() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "the connection was lost")
