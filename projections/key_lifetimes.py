"""From when to when a key was good, and what ended a session: for looking into a token.

A token may be forged, so what is read for it is bounded, however long the history is: single
rows by bisection, and two stretches of rows. The rows are taken as they are; who acts on an
event checks its signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import MAX_RETIRING, SessionKeys

NEARBY = 200
"""How many events around the time of a token are looked at."""
NEWEST = 2_000
"""How many of the newest events are looked at, and how many for the end of a session."""


@dataclass(frozen=True, slots=True)
class KeySpan:
    """From when to when a key was good.

    Attributes:
        began_with: the event that made it current.
        ended_with: the event that ended it, or began its overlap; None while it is current.
        ends_at: when it ended, its overlap included; None while it is current.
    """

    began_with: KeyEvent
    ended_with: KeyEvent | None
    ends_at: datetime | None


class KeyLifetimes:
    """Looks for keys and ends of sessions in the log of one manager."""

    def __init__(self, log: KeyLog, manager: str) -> None:
        self._log = log
        self._manager = manager

    def find(self, key_id: str, issued_at: float | None) -> KeyEvent | None:
        """Return the event that made a key, None if it is not found.

        It is looked for among the `NEARBY` events around a time, and the `NEWEST` ones.

        Args:
            key_id: of the key.
            issued_at: when a token under it was made, as the token says: in seconds since the
                epoch; None: it does not say.
        """
        nearby = iter(()) if issued_at is None else self._around(issued_at)
        newest = islice(self._log.key_events(self._manager, newest_first=True), NEWEST)
        # Every event, also that of a session, names the key that is current after it.
        named = next((event for event in chain(nearby, newest) if event.key_id == key_id), None)
        return None if named is None else self.made(named.generation, key_id)

    def made(self, generation: int, key_id: str) -> KeyEvent | None:
        """Return the event that made this key of this generation; None: it was purged."""
        event = self._first(lambda event: event.generation >= generation)
        is_it = event is not None and event.makes_a_key and event.key_id == key_id
        return event if is_it else None

    def span_of(self, made: KeyEvent) -> KeySpan:
        """Return from when to when the key was good that this event made."""
        end = self._end_of(made.generation)
        if end is None:
            return KeySpan(made, None, None)
        if not isinstance(end, SessionKeys.KeyRotated):
            return KeySpan(made, end, end.timestamp)
        overlap_ends = end.timestamp + timedelta(seconds=end.overlap)
        for generation in range(end.generation, end.generation + MAX_RETIRING + 1):
            later = self._end_of(generation)
            if later is None or later.timestamp >= overlap_ends:
                break
            if not isinstance(later, SessionKeys.KeyRotated):
                return KeySpan(made, later, later.timestamp)
        return KeySpan(made, end, overlap_ends)

    def end_of_session(
        self,
        sid: str,
        subject: str,
        *,
        after: int,
        until: datetime | None = None,
        limit: int | None = NEWEST,
    ) -> KeyEvent | None:
        """Return the first event that ended a session.

        Args:
            sid: of the session.
            subject: whose it was.
            after: the position at which it began, or a later one at which it went on.
            until: look only at events before this moment.
            limit: look at this many events; None: at all.
        """
        for event in islice(self._log.key_events(self._manager, after=after), limit):
            if until is not None and event.timestamp >= until:
                return None
            if _ends(event, sid, subject):
                return event
        return None

    def _end_of(self, generation: int) -> KeyEvent | None:
        """Return the event after which a generation was current no more."""
        later = self._first(lambda event: event.generation > generation)
        # After a destroy, which makes no generation, there is nothing or a new one.
        if later is None:
            before = self._newest()
        else:
            before = self._at_or_after(later.originator_version - 1)
        return before if isinstance(before, SessionKeys.KeysDestroyed) else later

    def _around(self, moment: float) -> Iterator[KeyEvent]:
        later = self._first(lambda event: event.timestamp.timestamp() > moment) or self._newest()
        if later is None:
            return iter(())
        middle = later.originator_version
        return self._log.key_events(
            self._manager, after=middle - NEARBY // 2, before=middle + NEARBY // 2, page=NEARBY
        )

    def _first(self, is_late_enough: Callable[[KeyEvent], bool]) -> KeyEvent | None:
        """Return the first event of those that are late enough: these are the newest ones."""
        newest = self._newest()
        low, high = 1, 0 if newest is None else newest.originator_version + 1
        found = None
        while low < high:
            middle = (low + high) // 2
            event = self._at_or_after(middle)
            if event is None or is_late_enough(event):
                found, high = event or found, middle
            else:
                low = event.originator_version + 1
        return found

    def _newest(self) -> KeyEvent | None:
        return next(self._log.key_events(self._manager, newest_first=True, page=1), None)

    def _at_or_after(self, position: int) -> KeyEvent | None:
        return next(self._log.key_events(self._manager, after=position - 1, page=1), None)


def _ends(event: KeyEvent, sid: str, subject: str) -> bool:
    if isinstance(event, SessionKeys.SessionEnded):
        return event.sid == sid
    return (
        isinstance(event, SessionKeys.SubjectSessionsEnded)
        and event.subject == subject
        and event.keep != sid
    )
