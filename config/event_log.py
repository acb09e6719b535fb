"""The log of session keys: an eventsourcing application over one of the stores.

What it adds to the library: topics are never resolved unless they are known, signatures are
checked before anything is mapped, a commit whose fate is unknown is looked up, and every
failure of a store is a `LogError` that names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from typing import Any, Protocol, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    IntegrityError,
    Mapper,
    StoredEvent,
)
from eventsourcing.utils import Environment, EnvType

from keyturn.config.store_errors import came_to_no_commit, speaking_of
from keyturn.domain.errors import (
    ForeignLogError,
    LogError,
    LogNotEmptyError,
    LogUnavailableError,
)
from keyturn.domain.event_mapper import KeyEventMapper, read_event
from keyturn.domain.key_log import Row
from keyturn.domain.provenance import decode_state, digest
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id

_PAGE = 500


class Store(Protocol):
    """What differs between the places where a log can lie."""

    changes: Callable[[], object]
    is_server: bool

    @property
    def factory(self) -> InfrastructureFactory[Any]: ...
    def recorder(self) -> ApplicationRecorder: ...
    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]: ...
    def refuse_alien_topics(self, host_topics: Collection[str]) -> None: ...
    def rows(self) -> Iterator[Row]: ...
    def alone(self) -> AbstractContextManager[None]: ...
    def purge(self, originator_id: UUID) -> None: ...
    def reopen(self) -> bool: ...
    def stop_soon(self) -> None: ...
    def close(self) -> None: ...


class EventLog(Application[UUID]):
    """A log of key events: see `KeyLog` for what it promises. Close it when done.

    A host may keep aggregates of its own in it, with `save` and `repository`, and have them
    saved in one commit with a change of keys (see `Transaction.save`).
    """

    name = "keyturn"

    def __init__(
        self,
        open_store: Callable[[], Store],
        location: str,
        host_topics: frozenset[str] = frozenset(),
    ) -> None:
        self._location = location
        # The newest event of each manager as it was read: one whose signature need not be
        # checked again.
        self._genuine: dict[str, tuple[StoredEvent, SessionKeys]] = {}
        self._host_topics = host_topics
        with self._speaking_of_the_log():
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

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:  # noqa: ARG002
        return self._store.factory

    def construct_mapper(self) -> Mapper[UUID]:
        return KeyEventMapper(self.construct_transcoder(), self._host_topics)

    def construct_recorder(self) -> ApplicationRecorder:
        return self._store.recorder()

    def count(self) -> int:
        """Return about how many events there are, a host's included: for a progress bar."""
        with self._speaking_of_the_log():
            return self.recorder.max_notification_id() or 0

    def refuse_alien_topics(self) -> None:
        """Raise if the log holds a topic that is neither ours nor the host's."""
        with self._speaking_of_the_log():
            self._store.refuse_alien_topics(self._host_topics)

    @property
    def location(self) -> str:
        return self._location

    @property
    def host_topics(self) -> frozenset[str]:
        """The topics of the host's own aggregates."""
        return self._host_topics

    def changes(self) -> object:
        return self._store.changes()

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        return self._store.watch(on_change)

    def load(self, manager: str) -> SessionKeys | None:
        with self._speaking_of_the_log():
            newest = self.recorder.select_events(manager_id(manager), desc=True, limit=1)
            if not newest:
                return None
            stored, keys = self._genuine.get(manager, (None, None))
            if keys is None or stored != newest[0]:
                event = self.mapper.to_domain_event(newest[0])
                keys = SessionKeys.resume(cast(SessionKeys.Event, event))
                self._genuine[manager] = newest[0], keys
        return copy(keys)

    def digest_at(self, manager: str, position: int) -> str | None:
        with self._speaking_of_the_log():
            rows = self.recorder.select_events(
                manager_id(manager), gt=position - 1, lte=position, limit=1
            )
            if not rows:
                return None
            row = rows[0]
            fields = decode_state(row)
            return digest(row.topic, manager_id(manager), row.originator_version, fields)

    def append(self, *aggregates: Aggregate) -> bool:
        ours = [
            (keys.manager, keys.version, keys.digest)
            for keys in aggregates
            if isinstance(keys, SessionKeys) and keys.pending_events
        ]
        try:
            with self._speaking_of_the_log():
                self.save(*aggregates)
        except LogUnavailableError as error:
            self._find_out_what_became_of(ours, error)
            if error.recorded and self._store.is_server:
                return True
            raise
        except IntegrityError:
            return bool(ours) and self._holds(ours)  # a lost reply makes our own commit one
        return True

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            try:
                with self._speaking_of_the_log():
                    stack.enter_context(self._store.alone())
            except LogUnavailableError as error:
                error.recorded = False
                raise
            yield

    def key_events(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        page: int | None = None,
    ) -> Iterator[SessionKeys.Event]:
        id_, limit = manager_id(manager), min(page or _PAGE, _PAGE)
        up_to = None if before is None else before - 1
        while True:
            with self._speaking_of_the_log():
                rows = self.recorder.select_events(
                    id_, gt=after, lte=up_to, desc=newest_first, limit=limit
                )
                events = [read_event(row) for row in rows]
            yield from events
            if len(events) < limit:
                return
            if newest_first:
                up_to = events[-1].originator_version - 1
            else:
                after = events[-1].originator_version

    def rows(self) -> Iterator[Row]:
        rows = self._store.rows()
        while True:
            with self._speaking_of_the_log():
                row = next(rows, None)
            if row is None:
                return
            yield row

    def restore(self, events: Iterable[StoredEvent]) -> int:
        """Write the events of an export in one commit, and return how many there were.

        All of them are read before any is written, so that an error in them leaves the log as
        it is. They are written as they are: who reads them has checked them.

        Raises:
            LogNotEmptyError: the log holds key events already.
            LogUnavailableError: it cannot be written now; nothing was, unless `recorded`.
        """
        everything = list(events)
        heads = {event.originator_id: event for event in everything}
        newest = [read_event(stored) for stored in heads.values()]
        ours = [(event.manager, event.originator_version, event.digest) for event in newest]
        try:
            with self._speaking_of_the_log():
                if self.owner() is not None:
                    raise self._not_empty()
                self.recorder.insert_events(everything)
        except LogUnavailableError as error:
            self._find_out_what_became_of(ours, error)
            raise
        except IntegrityError as error:  # somebody wrote meanwhile
            raise self._not_empty() from error
        return len(everything)

    def purge(self, manager: str) -> None:
        with self._speaking_of_the_log():
            self._store.purge(manager_id(manager))

    def owner(self) -> str | None:
        """Return the node id of the first key event; None if there is no event of any manager."""
        with self._speaking_of_the_log():
            first: list[StoredEvent] = list(
                self.recorder.select_notifications(1, 1, topics=tuple(EVENT_CLASSES))
            )
            return str(decode_state(first[0]).get("node_id")) if first else None

    def check_owner(self, node_id: str) -> None:
        found = self.owner()
        if found is not None and found != node_id:
            message = (
                f"the log {self._location} belongs to another key ring (node {found}), this one "
                f"is of node {node_id}: open it with its own key ring, or choose another log"
            )
            raise ForeignLogError(message, location=self._location, expected=node_id, found=found)

    def stop_soon(self) -> None:
        """Have its threads end in a moment. Waits for nothing: a finalizer may call it."""
        self._store.stop_soon()

    def close(self) -> None:
        """Close the store. What is asked later raises `LogClosedError`."""
        if hasattr(self, "_store"):
            self._store.close()
            super().close()

    def __del__(self) -> None:
        """Do nothing: a finalizer runs at any moment, maybe with the locks held that it needs."""

    def _not_empty(self) -> LogNotEmptyError:
        message = (
            f"the log {self._location} holds key events already: an export is loaded only into "
            "an empty log; choose another place, or move this one away"
        )
        return LogNotEmptyError(message, location=self._location)

    def _find_out_what_became_of(
        self, ours: list[tuple[str, int, str]], error: LogUnavailableError
    ) -> None:
        """A commit that failed may have been carried out: only new connections can tell."""
        if came_to_no_commit(error):
            error.recorded = False
        if error.is_busy or (error.recorded is False and self._store.is_server):
            return
        with contextlib.suppress(LogError), self._speaking_of_the_log():
            is_final = self._store.reopen()
            if ours and self._holds(ours):
                error.recorded = True
            elif is_final:
                error.recorded = False
        if error.recorded:
            error.add_note("The change is in force, but the disk did not confirm it.")
        elif error.recorded is None and ours:
            error.add_note(
                "Nobody knows whether the change was recorded: look at the history before you "
                "make it again."
            )

    def _holds(self, marks: list[tuple[str, int, str]]) -> bool:
        return all(
            self.digest_at(manager, position) == digest for manager, position, digest in marks
        )

    def _speaking_of_the_log(self) -> AbstractContextManager[None]:
        return speaking_of(self._location)
