"""The head of a stream: the one way in which the events of a manager are read for use.

It is the only memory of the newest event in a process. Before each use the log is asked whether
anybody has committed since; only then are the newer events read. A head never goes back: not
behind the one that was read before, and not behind the anchor.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from keyturn.domain.errors import (
    KeyRingTimeoutError,
    LogNotTrustedError,
    LogRolledBackError,
    LogUnavailableError,
    StaleKeyError,
)
from keyturn.domain.head import Head, blank_head
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.mark import Mark
from keyturn.projections.stream import Events, Stream

_CannotRead = KeyRingTimeoutError | LogUnavailableError


class SeenElsewhere(Protocol):
    """What the reader asks of an anchor."""

    def peek(self, manager: str) -> int:
        """Return the position that was seen, unchecked; 0 if none was, or it cannot be read."""

    def read(self, manager: str) -> Mark | None:
        """Return what was seen, checked; None if nothing was."""


class HeadReader:
    """The head of one manager's stream. Safe to use from any thread.

    Args:
        log: the log.
        manager: whose stream.
        node_id: the node that must have signed it.
        key_ring: unseals the keys; without it the heads have none.
        anchor: what this node has seen; None: nothing that is kept.
        on_events: called with newer events, each once and in order, in whatever thread read
            them. It must not wait. To be sure of each, however often the main thread is
            interrupted by signals, it is a method of the interpreter's own: `deque.append`.
        after_events: called after that; an interrupt may keep it from being called.
    """

    def __init__(
        self,
        log: KeyLog,
        manager: str,
        node_id: str,
        *,
        key_ring: KeyRingLike | None = None,
        anchor: SeenElsewhere | None = None,
        on_events: Callable[[Events], None] = lambda events: None,
        after_events: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._manager = manager
        self._stream = Stream(log, manager, node_id, key_ring)
        self._anchor = anchor
        self._on_events = on_events
        self._after_events = after_events
        self._lock = threading.Lock()
        self._read_began = float("-inf")
        self._why_not: _CannotRead | None = None
        self._state: tuple[object, Head] = (object(), blank_head(manager))

    # --- reading ---

    def get(self) -> Head:
        """Return the head of this moment.

        Raises:
            StaleKeyError: the log must be read for it, and cannot be.
            LogError: it is not to be trusted; its subclasses say why.
        """
        seen, head = self._state
        if self._log.changes() == seen:
            return head
        return self._refresh()

    def peek(self) -> Head | None:
        """Return what `get` returns if that needs no reading, else None. Never waits."""
        seen, head = self._state
        return head if self._log.changes() == seen else None

    @property
    def known(self) -> Head:
        """The head that was read last, which may be out of date by now: for figures."""
        return self._state[1]

    @property
    def seconds_since_read(self) -> float:
        """How long ago the log was last read; infinity if it never was."""
        return time.monotonic() - self._read_began

    def read(self) -> Head:
        """Return the head, read just now: what the log says changes might be a moment late."""
        self.forget_changes()
        return self._refresh()

    def open(self, *, trust_log: bool = False, accept_rollback: bool = False) -> Head:
        """Return the head after comparing the log with the anchor as a whole: a first reading.

        Args:
            trust_log: take a log that this node has never seen as it is.
            accept_rollback: take a log that is older than, or differs from, what was seen.

        Raises:
            LogRolledBackError: the log is not the one that was seen.
            LogNotTrustedError: it has events, and the anchor knows nothing of them.
            AnchorError: the anchor is damaged.
            LogError: as for `get`.
        """
        self.forget_changes()
        if accept_rollback or self._anchor is None:
            with self.regardless_of_anchor():
                return self.get()
        head = self.get()
        mark = self._anchor.read(self._manager)  # afterwards: others write the log first
        if mark is None:
            if head.position > 0 and not trust_log:
                raise self._not_trusted()
            return head
        reached, _ = self._stream.reaching(head, mark)
        return head if reached is head else self.read()

    @contextlib.contextmanager
    def regardless_of_anchor(self) -> Iterator[None]:
        """Do not hold the log against the anchor in the block, in which the anchor moves back."""
        anchor, self._anchor = self._anchor, None
        try:
            yield
        finally:
            self._anchor = anchor

    def forget_changes(self) -> None:
        """Read the log anew before the next use."""
        self._state = (object(), self._state[1])

    def forget(self) -> None:
        """Forget the head: for tests, whose histories begin anew."""
        self._state = (object(), blank_head(self._manager))

    def holds(self, position: int, digest: str) -> bool:
        """Whether the stream, as it is now, has this event, or a later purge removed it."""
        try:
            self._stream.reaching(self.read(), Mark(position, digest, ""))
        except LogRolledBackError:
            return False
        return True

    # --- the one reading for all threads that need it ---

    def _refresh(self) -> Head:
        """Read the log; of several threads that need it at once, one for all."""
        needed_at = time.monotonic()
        why_not = self._why_not
        if why_not is not None and self._lock.locked():
            raise self._stale(why_not)  # one thread tries, and the others do not wait for that
        with self._lock:  # no `acquire`: a signal handler may raise before the `try`
            if self._read_began <= needed_at:
                self._read()
            elif self._why_not is not None:
                raise self._stale(self._why_not)
            return self._state[1]

    def _read(self) -> None:
        began = time.monotonic()
        why_not: _CannotRead | None = None
        try:
            # Asked before reading: what is committed meanwhile is then read again next time.
            seen = self._log.changes()
            last_seen, old = self._state
            if seen != last_seen:
                head, events = self._newer_than_anchor(old)
                tell = self._on_events
                self._state = (seen, head)
                if events:  # no signal is handled between these two lines
                    tell(events)
                    self._after_events()
            self._read_began = began
        except (KeyRingTimeoutError, LogUnavailableError) as error:
            self._read_began, why_not = began, error
            raise self._stale(error) from error
        finally:
            self._why_not = why_not  # of another error nobody gets a share

    # --- following the stream ---

    def _newer_than_anchor(self, old: Head) -> tuple[Head, Events]:
        """Return the head of the log and the events since `old`, if the anchor saw no more."""
        head, events = self._stream.newer(old)
        if self._anchor is None or self._anchor.peek(self._manager) <= head.position:
            return head, events
        # Others write the log first and then the anchor, and go on meanwhile: only a log that
        # was read after the anchor must hold what the anchor has seen.
        mark = self._anchor.read(self._manager)
        if mark is None:
            return head, events
        head, more = self._stream.reaching(head, mark)
        return head, [*events, *more]

    # --- errors ---

    def _stale(self, why: _CannotRead) -> StaleKeyError:
        message = "no token is made or checked while the keys may be out of date"
        return StaleKeyError(
            f"{message}: {why}",
            location=self._log.location,
            recorded=False,  # what was to follow the reading was not even tried
            is_busy=isinstance(why, LogUnavailableError) and why.is_busy,
        )

    def _not_trusted(self) -> LogNotTrustedError:
        return LogNotTrustedError(
            f"the log {self._log.location} has a history of manager {self._manager!r}, and this "
            "node has never seen it (there is no anchor entry): it may be an old copy, in which "
            "revoked tokens are good; if it is the right one, say so once with trust_log=True "
            "(--trust-log, KEYTURN_TRUST_LOG)",
            location=self._log.location,
        )
