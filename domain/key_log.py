"""What the rest of the code asks of a log of session keys, whatever store it lies in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from eventsourcing.domain import Aggregate

from keyturn.domain.session_keys import SessionKeys


class Row(NamedTuple):
    """A row of the table `stored_events` as it lies there, of whatever types its values are."""

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

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change`, in a thread of the log's own, after commits, whoever made them.

        Returns:
            What ends that.
        """

    def load(self, manager: str) -> SessionKeys | None:
        """Return the keys as the newest event leaves them; None if there is no event.

        Raises:
            LogDamagedError: that event is not genuine.
            LogUnavailableError: the store cannot be read now.
        """

    def digest_at(self, manager: str, position: int) -> str | None:
        """Return the digest of the event at this position, None if there is none."""

    def append(self, *aggregates: Aggregate) -> bool:
        """Write the pending events of all of them in one commit, durably.

        Returns:
            Whether they were written. False: somebody else wrote to these positions first,
            and nothing was written.

        Raises:
            LogUnavailableError: the store cannot be written now.
        """

    def alone(self) -> AbstractContextManager[None]:
        """Keep other writers out for the length of the block, if the store can.

        What is loaded in it is still the newest when it is followed by one `append`.

        Raises:
            LogUnavailableError: they could not be kept out in time; nothing was written.
        """

    def key_events(
        self,
        manager: str,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        page: int | None = None,
    ) -> Iterator[SessionKeys.Event]:
        """Yield events, signatures unchecked.

        Args:
            manager: whose.
            after: only those at later positions.
            before: only those at earlier positions; None: up to the end.
            newest_first: instead of oldest first.
            page: how many to read at a time.
        """

    def rows(self) -> Iterator[Row]:
        """Yield every row of the log in the order of writing, unchecked: for an audit."""

    def purge(self, manager: str) -> None:
        """Remove every row of this manager, for good."""

    def check_owner(self, node_id: str) -> None:
        """Raise `ForeignLogError` if the log holds key events of another node."""
