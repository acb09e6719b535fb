"""Reads the events of one manager's stream by the chain rule, and what they come to.

It remembers nothing: the head it begins with is the caller's. What was signed by nobody, or does
not follow the event before it, is an error that names the row and the statement that removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import chain

from eventsourcing.persistence import StoredEvent

from keyturn.domain.chain import Link, break_between
from keyturn.domain.errors import LogDamagedError, LogRolledBackError, NotAKeyturnLogError
from keyturn.domain.head import Head, key_set_of
from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.stored_events import check_genuine, read_event

_PAGE = 500

Events = Sequence[KeyEvent]


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of one manager. Safe to use from any thread.

    Attributes:
        log: the log.
        manager: whose stream.
        node_id: the node that must have signed it.
        key_ring: unseals the keys; without it the heads have none.
    """

    log: KeyLog
    manager: str
    node_id: str
    key_ring: KeyRingLike | None = None

    def newer(self, old: Head) -> tuple[Head, Events]:
        """Return the head of now, and the events since an older one.

        From a blank head it reads the newest event and those that its state needs; these are
        not among the events.

        Raises:
            LogRolledBackError: the older head is not in the stream any more.
            LogDamagedError: a row does not follow.
            LogUnavailableError: the log cannot be read.
        """
        if old.position == 0:
            return self._first(old), ()
        rows = list(self._each(old.position - 1))
        if rows and rows[0] == old.stored:
            if len(rows) == 1:
                return old, ()
            events = list(self._linked(self._events(rows[1:]), old.keys.link))
            keys = SessionKeys.fold(events, copy(old.keys))
        else:
            purge = self._event(rows[0], is_signed=True) if rows else None
            if purge is None or not purge.is_purge or purge.originator_version <= old.position:
                found = rows[-1].originator_version if rows else 0
                raise self.rolled_back(found, old.position)
            events = [purge, *self._linked(self._events(rows[1:]), purge.link)]
            keys = SessionKeys.fold(events)
        return self._head(keys, rows[-1], old), events

    def reaching(self, head: Head, mark: Mark) -> tuple[Head, Events]:
        """Return a head of a stream that holds what the anchor has seen, and the events since.

        That is the given one, unless a purge or others' writing went on meanwhile.

        Raises:
            LogRolledBackError: the stream does not hold it.
            LogError: as for `newer`.
        """
        events: list[KeyEvent] = []
        if mark.position > head.position:
            head, more = self.newer(head)
            events.extend(more)
        while not self.contains(head, mark):
            newer, more = self.newer(head)
            if newer.position == head.position:
                raise self.rolled_back(head.position, mark.position)
            head = newer
            events.extend(more)
        return head, events

    def contains(self, head: Head, mark: Mark) -> bool:
        """Whether the stream holds what the anchor has seen, or gave it up for good."""
        if mark.position == 0:  # the history was about to begin
            return True
        if mark.purged:
            return head.position == 0 or self._gave_up(head, mark)
        if mark.position == head.position and mark.digest == head.digest:
            return True
        if mark.position < head.position:
            seen = next(self.log.key_events(self.manager, after=mark.position - 1, page=1), None)
            if seen is not None and seen.digest == mark.digest and self._leads_to(seen, head):
                return True
        return self._gave_up(head, mark)

    def _gave_up(self, head: Head, mark: Mark) -> bool:
        """Whether a purge removed the event of a mark, or an accepted rollback abandoned it."""
        wanted = Abandoned(mark.position, mark.digest)
        for event in self.log.key_events(self.manager, before=head.position + 1):
            is_purge = event.is_purge and event.originator_version > mark.position
            if is_purge or getattr(event, "abandoned", None) == wanted:
                return event.is_genuine and self._leads_to(event, head)
            if event.originator_version > mark.position:
                return False
        return False

    def _leads_to(self, event: KeyEvent, head: Head) -> bool:
        """Whether the chain goes on from an event to the head without a break."""
        end = event.link
        later = self.log.key_events(
            self.manager, after=event.originator_version, before=head.position + 1
        )
        for following in later:
            if break_between(end, following) is not None:
                return False
            end = following.link
        return end == head.keys.link

    def _first(self, blank: Head) -> Head:
        newest = self.log.newest(self.manager)
        if newest is None:
            return blank
        event = self._event(newest, is_signed=True)
        # One after the other, for they may be many; the newest one's signature vouches for all.
        earlier = map(self._event, self._each(event.since - 1, event.originator_version))
        events = chain(earlier, (event,))
        first = next(events)
        if first.originator_version != event.since:
            what = f"the event at position {event.since} is missing"
            raise self._does_not_follow(event, what)
        keys = SessionKeys.fold(self._linked(events, first.link), SessionKeys.fold((first,)))
        return self._head(keys, newest, blank)

    def _head(self, keys: SessionKeys, stored: StoredEvent, before: Head) -> Head:
        return Head.of(keys, stored, key_set_of(keys, self.key_ring, before.key_set))

    def _each(self, after: int, before: int | None = None) -> Iterator[StoredEvent]:
        """Yield the rows between two positions."""
        page = None
        while (page is None or len(page) == _PAGE) and before != after + 1:
            page = self.log.stored(self.manager, after=after, before=before, limit=_PAGE)
            yield from page
            after = page[-1].originator_version if page else after

    def _events(self, rows: Sequence[StoredEvent]) -> Iterator[KeyEvent]:
        """Yield the events of rows; the last one's signature vouches for those before it."""
        for number, row in enumerate(rows, 1):
            yield self._event(row, is_signed=number == len(rows))

    def _event(self, row: StoredEvent, *, is_signed: bool = False) -> KeyEvent:
        """Return the event of a row; with `is_signed` its signature is checked."""
        try:
            event = read_event(row)
            if is_signed:
                check_genuine(event, self.node_id)
            return event
        except (LogDamagedError, NotAKeyturnLogError) as error:
            what = str(getattr(error, "what", "") or error)
            raise self._does_not_follow(row, what) from error

    def _linked(self, events: Iterable[KeyEvent], end: Link) -> Iterator[KeyEvent]:
        """Yield events that follow the end of a chain, one the other."""
        for event in events:
            if (problem := break_between(end, event)) is not None:
                raise self._does_not_follow(event, problem.value)
            end = event.link
            yield event

    def rolled_back(self, found: int, seen: int) -> LogRolledBackError:
        """Return the error for a stream in which something that was seen is missing.

        Args:
            found: the position at which it ends.
            seen: the position that was seen.
        """
        what = f"ends at position {found}" if found < seen else "holds another event there"
        return LogRolledBackError(
            f"the log {self.log.location} of manager {self.manager!r} {what}, but this node "
            f"has seen position {seen}: an old copy was put back, and revoked tokens would come "
            "back to life; put the right log back, or accept this one with accept_rollback=True "
            "(--accept-rollback), which resets the key",
            location=self.log.location,
            expected_position=seen,
            found_position=found,
        )

    def _does_not_follow(self, row: StoredEvent | KeyEvent, what: str) -> LogDamagedError:
        position = row.originator_version
        statement = self.log.removal_of(self.manager, position)
        return LogDamagedError(
            f"the row at position {position} of manager {self.manager!r} in the log "
            f"{self.log.location} does not belong there: {what}. If it was altered, put back an "
            "unaltered copy of the log: without it a reset may be missing. Only if Keyturn never "
            f"wrote it (keyturn audit, against a checkpoint), remove it with `{statement}`",
            location=self.log.location,
            position=position,
            what=what,
        )
