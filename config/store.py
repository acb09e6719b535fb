"""What a place where a log can lie must do: eventsourcing's recorder, and a little more.

SQLite, PostgreSQL and memory each implement this with statements of their own. A store knows
rows; what they mean is for others. Safe to use from any thread.

Of the methods that eventsourcing declares, `select_events` reads in one statement and raises
`LogDamagedError` where a row holds values that are not those of an event.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    Notification,
    StoredEvent,
    Subscription,
)

from keyturn.domain.key_log import Row

SCHEMA_VERSION = 2
"""Of the tables. 1: of version 0.1."""

HIGHEST = 2**63 - 1
"""The highest position or number of a row that a store can keep."""


class Store(ApplicationRecorder):
    """One log in one place.

    Attributes:
        location: what to call it in messages; never holds a password.
        table: the name of the table of events, as an SQL statement has it.
        is_server: whether what it says of a commit is final. A file may be told that a commit
            failed, and find it there after a recovery.
        is_read_only: whether it can only be read here; then nothing of it is ever written.
    """

    location: str
    table: str = "stored_events"
    is_server: bool = False
    is_read_only: bool = False

    def insert_events(
        self,
        stored_events: Iterable[StoredEvent],
        *,
        may_begin_anywhere: bool = False,
        **kwargs: Any,  # noqa: ARG002 - eventsourcing's
    ) -> Sequence[int]:
        """Write events: see `insert`."""
        return self.insert(stored_events, may_begin_anywhere)

    @abstractmethod
    def insert(self, events: Iterable[StoredEvent], may_begin_anywhere: bool) -> Sequence[int]:
        """Write events in one durable commit, in this order; return their numbers.

        Args:
            events: of one or more aggregates; taken one by one, so that an import needs no
                memory for all. What taking one raises leaves the store as it is.
            may_begin_anywhere: an import of a purged stream begins with a later position.

        Raises:
            IntegrityError: a position is taken, or the one before it is not there.
            LogUnavailableError: they cannot be written now.
        """

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = -HIGHEST - 1 if start is None else start + (not inclusive_of_start)
        last = HIGHEST if stop is None else stop
        return self.numbered(first, last, topics, limit) if first <= last else ()

    @abstractmethod
    def numbered(
        self, first: int, last: int, topics: Sequence[str], limit: int
    ) -> Sequence[Notification]:
        """Return events by their numbers, at most so many; without topics those of any topic."""

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Refuse: a log is followed with `watch`."""
        raise NotImplementedError("follow a Keyturn log with Service.subscribe")

    @abstractmethod
    def changes(self) -> object:
        """Return a value which differs once anybody has committed: see `KeyLog.changes`."""

    @abstractmethod
    def watch(
        self, on_change: Callable[[], None], originator_id: UUID | str | None = None
    ) -> Callable[[], None]:
        """Call `on_change` after commits, in a thread of its own: see `KeyLog.watch`."""

    @abstractmethod
    def rows(self) -> Generator[Row, None, None]:
        """Yield every row as it lies there, in the order of writing, as of one moment."""

    @abstractmethod
    def newest_rows(self, topics: Collection[str]) -> list[Row]:
        """Return the newest row of every aggregate that has a row of one of these topics.

        The rows are unchecked, as those of `rows`. It asks for one aggregate after the other:
        it grows with their number, not with how many rows one of these topics has.
        """

    @abstractmethod
    def unknown_topic(self, known: Collection[str]) -> str | None:
        """Return a topic in the log that is not known, if there is one.

        It asks an index for one topic after the other, so it does not grow with the log.
        """

    @abstractmethod
    def schema_problems(self) -> list[str]:
        """Return what is wrong with the store itself, besides its rows: a line each."""

    def seconds_since_heard(self) -> float:
        """Return how old what `changes` says may be: 0 where the store is asked each time."""
        return 0.0

    @abstractmethod
    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block: see `KeyLog.exclusive`.

        The same thread's next `insert_events` in the block is its one commit.
        """

    @abstractmethod
    def purge(self, last: StoredEvent) -> None:
        """Append an event, and remove all earlier ones of its aggregate, in one commit.

        Raises: what `insert_events` raises.
        """

    @abstractmethod
    def reopen(self) -> bool:
        """Give up all connections and open new ones: after an error nothing else is sure.

        Returns:
            Whether what the log holds now is final.
        """

    def stop_soon(self) -> None:
        """Have its threads end in a moment. Waits for nothing: a finalizer may call it."""

    @abstractmethod
    def close(self) -> None:
        """Close it. What is asked of it later raises `LogClosedError`."""
