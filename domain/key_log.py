"""What the rest of the code asks of a log of session keys, whatever store it lies in."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from eventsourcing.domain import Aggregate
from eventsourcing.persistence import StoredEvent

from keyturn.domain.key_events import KeyEvent
from keyturn.domain.manager_state import ManagerState


class Row(NamedTuple):
    """A row of the table of events as it lies there, of whatever types its values are."""

    originator_id: object
    originator_version: object
    topic: object
    state: object


class KeyLog(Protocol):
    """An append-only log of key events, of one or more managers. Safe to use from any thread."""

    @property
    def location(self) -> str:
        """What to call it in messages; never holds a password."""

    def changes(self) -> object:
        """Return a value which differs once anybody has committed anything.

        It is called before each use of a key, so it takes well under a microsecond if it can, and
        never waits. Where it cannot tell it returns a value like no other: then the log is read.
        """

    def watch(
        self, on_change: Callable[[], None], manager: str | None = None
    ) -> Callable[[], None]:
        """Call `on_change`, in a thread of the log's own, after commits of any process.

        Args:
            on_change: what to call.
            manager: whose events matter; None: all.

        Returns:
            What ends that.
        """

    def newest(self, manager: str) -> StoredEvent | None:
        """Return the row at the highest position of a manager's stream, unchecked, if any.

        Raises:
            LogDamagedError: its values are not those of an event.
            LogUnavailableError: the store cannot be read now.
        """

    def stored(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> list[StoredEvent]:
        """Return rows of a manager's stream in the order of their positions, unchecked.

        Args:
            manager: whose.
            after: only those at later positions.
            before: only those at earlier positions; None: up to the end.
            newest_first: instead of oldest first.
            limit: at most so many.
        """

    def key_events(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        page: int | None = None,
    ) -> Iterator[KeyEvent]:
        """Yield events, signatures unchecked: see `stored`.

        Args:
            manager: whose.
            after: only those at later positions.
            before: only those at earlier positions; None: up to the end.
            newest_first: instead of oldest first.
            page: how many to read at a time.
        """

    def managers(self) -> list[ManagerState]:
        """Return the managers of the log, by name, signatures unchecked.

        A manager whose newest row cannot be read is left out: an audit finds it.
        """

    def removal_of(self, manager: str, position: int) -> str:
        """Return the SQL statement that removes a row which does not belong in the log.

        Args:
            manager: in whose stream it stands.
            position: where.
        """

    def rows(self) -> Generator[Row, None, None]:
        """Yield every row of the log in the order of writing, unchecked: for an audit."""

    def schema_problems(self) -> list[str]:
        """Return what is wrong with the store itself, besides its rows: for an audit."""

    def append(self, *aggregates: Aggregate) -> bool:
        """Write the pending events of all of them in one commit, durably.

        Returns:
            Whether they were written. False: somebody else wrote to these positions first,
            and nothing was written.

        Raises:
            LogUnavailableError: the store cannot be written now.
        """

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block, if the store can.

        What is read in it is still the newest when it is followed by one `append`.

        Raises:
            LogUnavailableError: they could not be kept out in time; nothing was written.
        """

    def purge(self, keys: Aggregate) -> bool:
        """Write the pending events of an aggregate, and remove all that came before the last.

        One transaction: both happen, or neither. Returns what `append` returns.
        """

    def check_owner(self, node_id: str) -> None:
        """Raise `ForeignLogError` if the log holds key events of another node."""
