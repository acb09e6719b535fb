"""The log of session keys: an eventsourcing application over one of the stores.

What it adds to the library: topics are never resolved unless they are known, signatures are
checked before anything is mapped, a commit whose outcome is unknown is looked up, and every
failure of a store is a `LogError` that names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Mapper,
    StoredEvent,
)
from eventsourcing.utils import Environment, EnvType

from keyturn.config.store import Store
from keyturn.config.store_errors import is_not_committed, translated
from keyturn.domain.chain import decode_state
from keyturn.domain.errors import (
    ForeignLogError,
    LogDamagedError,
    LogError,
    LogNotEmptyError,
    LogUnavailableError,
    NotAKeyturnLogError,
)
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import Row
from keyturn.domain.manager_state import ManagerState
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id
from keyturn.domain.stored_events import KeyEventMapper, read_event, unknown_topic, validated

_PAGE = 500
_Place = tuple[str, int, str]
"""A manager, a position and the digest that should stand there."""


class EventLog(Application[UUID]):
    """A log of key events: see `KeyLog` for what it promises. Close it when done.

    A host may keep aggregates of its own in it, with `save` and `repository`, and have them
    saved in one commit with a change of keys (see `Transaction.save`).

    Attributes:
        location: what to call it in messages; never holds a password.
        host_topics: the topics of the host's own aggregates.
    """

    name = "keyturn"

    def __init__(
        self,
        open_store: Callable[[], Store],
        location: str,
        host_topics: frozenset[str] = frozenset(),
    ) -> None:
        self.location = location
        self.host_topics = host_topics
        with translated(self.location):
            self._store = open_store()
            try:
                super().__init__()
            except BaseException:
                self._store.close()
                raise

    # How eventsourcing puts an application together. Its environment variables could put
    # anything in our place (a cipher, a mapper, another store): they are not looked at.

    def construct_env(self, name: str, env: EnvType | None = None) -> Environment:  # noqa: ARG002
        return Environment(name, {})

    def construct_mapper(self) -> Mapper[UUID]:
        return KeyEventMapper(self.construct_transcoder(), self.host_topics)

    def construct_recorder(self) -> ApplicationRecorder:
        return self._store

    # --- reading ---

    def changes(self) -> object:
        return self._store.changes()

    def watch(
        self, on_change: Callable[[], None], manager: str | None = None
    ) -> Callable[[], None]:
        """See `KeyLog.watch`."""
        return self._store.watch(on_change, None if manager is None else manager_id(manager))

    def newest(self, manager: str) -> StoredEvent | None:
        rows = self.stored(manager, newest_first=True, limit=1)
        return rows[0] if rows else None

    def stored(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """See `KeyLog.stored`."""
        up_to = None if before is None else before - 1
        with translated(self.location):
            return list(
                self._store.select_events(
                    manager_id(manager), gt=after, lte=up_to, desc=newest_first, limit=limit
                )
            )

    def key_events(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        page: int | None = None,
    ) -> Iterator[KeyEvent]:
        """See `KeyLog.key_events`."""
        limit = min(page or _PAGE, _PAGE)
        while True:
            rows = self.stored(
                manager, after=after, before=before, newest_first=newest_first, limit=limit
            )
            with translated(self.location):
                events = [read_event(row) for row in rows]
            yield from events
            if len(events) < limit:
                return
            if newest_first:
                before = events[-1].originator_version
            else:
                after = events[-1].originator_version

    def managers(self) -> list[ManagerState]:
        return self.readable_managers()[0]

    def readable_managers(self) -> tuple[list[ManagerState], list[str]]:
        """Return the managers, and the ids of those whose newest row is no event of ours.

        Who can write to the log could hide a manager with such a row.
        """
        with translated(self.location):
            rows = self._store.newest_rows(tuple(EVENT_CLASSES))
        states, unreadable = [], []
        for row in rows:
            try:
                id_ = UUID(str(row.originator_id))
                stored = validated(StoredEvent(id_, *row[1:]))  # type: ignore[arg-type]
                states.append(ManagerState.after(read_event(stored)))
            except (LogDamagedError, NotAKeyturnLogError, ValueError):
                unreadable.append(str(row.originator_id))
        return sorted(states, key=lambda state: state.name), unreadable

    def seconds_since_heard(self) -> float:
        """Return how old what `changes` says may be: 0 where the store is asked each time."""
        return self._store.seconds_since_heard()

    def removal_of(self, manager: str, position: int) -> str:
        """See `KeyLog.removal_of`."""
        return (
            f"DELETE FROM {self._store.table} WHERE originator_id = '{manager_id(manager).hex}' "  # noqa: S608
            f"AND originator_version = {position}"
        )

    def rows(self) -> Generator[Row, None, None]:
        rows = self._store.rows()
        try:
            while True:
                with translated(self.location):
                    row = next(rows, None)
                if row is None:
                    return
                yield row
        finally:
            rows.close()

    def schema_problems(self) -> list[str]:
        with translated(self.location):
            return self._store.schema_problems()

    def count(self) -> int:
        """Return about how many events there are, a host's included: for a progress bar."""
        with translated(self.location):
            return self._store.max_notification_id() or 0

    def refuse_unknown_topics(self) -> None:
        """Raise `NotAKeyturnLogError` if there is a topic that is neither ours nor the host's."""
        with translated(self.location):
            topic = self._store.unknown_topic({*EVENT_CLASSES, *self.host_topics})
            if topic is not None:
                raise unknown_topic(topic)

    def owner(self) -> str | None:
        """Return the node id of the first key event; None if there is no event of any manager."""
        with translated(self.location):
            first: list[StoredEvent] = list(
                self._store.select_notifications(None, 1, topics=tuple(EVENT_CLASSES))
            )
            return str(decode_state(first[0]).get("node_id")) if first else None

    def check_owner(self, node_id: str) -> None:
        found = self.owner()
        if found is not None and found != node_id:
            message = (
                f"the log {self.location} belongs to another key ring (node {found}), this one "
                f"is of node {node_id}: open it with its own key ring, or choose another log"
            )
            raise ForeignLogError(message, location=self.location, expected=node_id, found=found)

    # --- writing ---

    def append(self, *aggregates: Aggregate) -> bool:
        places = _places(*aggregates)
        return self._commit(lambda: self.save(*aggregates), lambda: self._holds(places))

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                with translated(self.location):
                    stack.enter_context(self._store.exclusive())
            except LogUnavailableError as error:
                error.recorded = False
                raise
            yield

    def purge(self, keys: Aggregate) -> bool:
        places = _places(keys)
        (last,) = (self.mapper.to_stored_event(event) for event in keys.collect_events())
        return self._commit(lambda: self._store.purge(last), lambda: self._holds(places))

    def restore(self, events: Iterable[StoredEvent]) -> int:
        """Write the events of an export in one commit, and return how many there were.

        They are written as they are: who reads them has checked them. An error that reading
        them raises leaves the log as it is.

        Raises:
            LogNotEmptyError: the log holds key events already.
            LogUnavailableError: it cannot be written now; nothing was, unless `recorded`.
        """
        count = 0
        last: StoredEvent | None = None

        def counted() -> Iterator[StoredEvent]:
            nonlocal count, last
            for event in events:
                count, last = count + 1, event
                yield event

        def is_there() -> bool:
            if last is None:
                return False
            event = read_event(last)  # one of them speaks for all; others may write meanwhile
            return self._holds([(event.manager, event.originator_version, event.digest)])

        with self.exclusive():
            if self.owner() is not None or not self._commit(
                lambda: self._store.insert_events(counted(), may_begin_anywhere=True), is_there
            ):
                raise LogNotEmptyError(
                    f"the log {self.location} holds key events already: an export is loaded "
                    "only into an empty log; choose another place, or move this one away",
                    location=self.location,
                )
        return count

    def stop_soon(self) -> None:
        """Have its threads end in a moment. Waits for nothing: a finalizer may call it."""
        self._store.stop_soon()

    def close(self) -> None:
        """Close the store. What is asked later raises `LogClosedError`."""
        self._store.close()
        super().close()

    def __del__(self) -> None:
        """Do nothing: a finalizer runs at any moment, maybe with the locks held that it needs."""

    def _commit(self, write: Callable[[], object], is_there: Callable[[], bool]) -> bool:
        """Write in one commit; return False if the places were taken by others."""
        try:
            with translated(self.location):
                write()
        except LogUnavailableError as error:
            self._find_out_what_became_of(error, is_there)
            if error.recorded and self._store.is_server:
                return True
            raise
        except IntegrityError:
            return is_there()  # a lost reply makes our own commit one
        return True

    def _find_out_what_became_of(
        self, error: LogUnavailableError, is_there: Callable[[], bool]
    ) -> None:
        """A commit that failed may have been carried out: only new connections can tell."""
        if is_not_committed(error):
            error.recorded = False
        if error.is_busy or (error.recorded is False and self._store.is_server):
            return
        with contextlib.suppress(LogError), translated(self.location):
            is_final = self._store.reopen()
            if is_there():
                error.recorded = True
            elif is_final:
                error.recorded = False
        if error.recorded:
            error.add_note("The change is in force, but the disk did not confirm it.")
        elif error.recorded is None:
            error.add_note(
                "Nobody knows whether the change was recorded: look at the history before you "
                "make it again."
            )

    def _holds(self, places: list[_Place]) -> bool:
        """Whether there are places, and each holds what it should."""
        for manager, position, digest in places:
            rows = self.stored(manager, after=position - 1, before=position + 1)
            if not rows or read_event(rows[0]).digest != digest:
                return False
        return bool(places)


def _places(*aggregates: Aggregate) -> list[_Place]:
    return [
        (keys.manager, keys.version, keys.digest)
        for keys in aggregates
        if isinstance(keys, SessionKeys) and keys.pending_events
    ]
