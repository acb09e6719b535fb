"""The history of keys and ended sessions, as people read it: one row an event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from keyturn.domain.errors import FilterError
from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import KINDS, SessionKeys

_OF_SESSIONS = (SessionKeys.SessionEnded, SessionKeys.SubjectSessionsEnded)
_SPARE = 20
"""Rows to read beyond a page: for how long its last key lived."""
_MAX_NUMBER = 2**62
_SAME = (
    *("kind", "generation", "key_id", "initiator", "reason", "node_id", "digest", "manager"),
    *("recorded_by", "overlap", "sid", "subject", "keep"),
)
"""The attributes of a row that are called the same in an event, if it has them."""


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One event of a manager: a change of its keys, or the end of sessions.

    Attributes:
        position: its place in the history of this manager, from 1 on.
        kind: generated, reset, rotated, destroyed, session ended or sessions ended.
        generation: of the key that is current after it; of `destroyed`, that it ended.
        key_id: the public fingerprint of that key.
        at: when, in UTC.
        initiator: who did it.
        reason: why, if somebody said so.
        node_id: the node whose key ring signed the event.
        digest: the SHA-256 of the event, in hex.
        lifetime: of a key, how long it was current; None while it is, and for sessions.
        overlap: of `rotated`, for how many seconds the keys before may stay good; else None.
        manager: its name.
        recorded_by: user@host of the operating system; None: not known (version 0.1).
        abandoned: the position that was seen before, when this accepted a rollback; else None.
        sid: of `session ended`, the session; else None.
        subject: whose sessions were ended, if it is known; else None.
        keep: of `sessions ended`, the sid of the session that goes on; None: none.
        clock_went_back: whether the lifetime is negative: the key ended before it began, by the
            clocks of those who wrote.
    """

    position: int
    kind: str
    generation: int
    key_id: str
    at: datetime
    initiator: str
    reason: str | None
    node_id: str
    digest: str
    lifetime: timedelta | None
    overlap: int | None = None
    manager: str = ""
    recorded_by: str | None = None
    abandoned: int | None = None
    sid: str | None = None
    subject: str | None = None
    keep: str | None = None
    clock_went_back: bool = False

    @property
    def is_of_sessions(self) -> bool:
        """Whether sessions were ended, and no key was changed."""
        return self.kind in [event_class.kind for event_class in _OF_SESSIONS]


def check_moment(moment: datetime | None, name: str) -> None:
    """Raise `FilterError` for a moment that does not say in which time zone it is."""
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise FilterError(f"{name} is an aware datetime, such as datetime.now(UTC)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """Which changes to show; all that is given must fit.

    Attributes:
        since: not before this moment (an aware datetime).
        until: not after this moment.
        generation: of this generation.
        initiator: by this initiator: the whole name, exactly.
        kind: generated, reset, rotated, destroyed, session ended or sessions ended.
        key_id: of the key of this id.
        search: with this text in who, why, subject or session, in whatever case.
    """

    since: datetime | None = None
    until: datetime | None = None
    generation: int | None = None
    initiator: str | None = None
    kind: str | None = None
    key_id: str | None = None
    search: str | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            check_moment(getattr(self, name), name)
        if self.kind is not None and self.kind not in KINDS:
            raise FilterError(
                f"there is no kind {self.kind!r} of change, only {', '.join(KINDS)}"
            )

    def fits(self, change: KeyChange) -> bool:
        """Whether a change is to be shown."""
        return (
            (self.since is None or change.at >= self.since)
            and (self.until is None or change.at <= self.until)
            and (self.generation is None or change.generation == self.generation)
            and (self.initiator is None or change.initiator == self.initiator)
            and (self.kind is None or change.kind == self.kind)
            and (self.key_id is None or change.key_id == self.key_id)
            and (self.search is None or self.search.casefold() in _texts_of(change))
        )


EVERYTHING = HistoryFilter()


def _texts_of(change: KeyChange) -> str:
    """Return what a search looks at."""
    texts = (change.initiator, change.recorded_by, change.reason, change.subject, change.sid)
    return "\n".join(text for text in texts if text).casefold()


class RotationHistory:
    """The events of one manager, read from the log page by page. Needs no password.

    What is shown is what the log says: whether that is true, an audit tells.
    """

    def __init__(self, log: KeyLog, manager: str = "default") -> None:
        self._log = log
        self._manager = manager

    def __iter__(self) -> Iterator[KeyChange]:
        return self.changes()

    def changes(
        self,
        which: HistoryFilter = EVERYTHING,
        *,
        newest_first: bool = False,
        after: int | None = None,
        limit: int | None = None,
        at: datetime | None = None,
    ) -> Iterator[KeyChange]:
        """Yield changes, oldest first unless told otherwise.

        Args:
            which: those to show.
            newest_first: the other way round.
            after: the position of the last row of the page before: go on after it.
            limit: how many at the most; None: all.
            at: only the change whose key was current at this moment (an aware datetime); the
                rest does not count.
        """
        if at is not None:
            change = self.at(at)
            return iter(() if change is None else (change,))
        for name, number in (("limit", limit), ("position to go on after", after)):
            if number is not None and not 0 <= number <= _MAX_NUMBER:
                raise FilterError(f"a {name} is a number from 0 to {_MAX_NUMBER}, not {number}")
        if limit == 0:
            return iter(())

        page = None if limit is None or which != EVERYTHING else limit + _SPARE
        events, again = (self._events(after, newest_first, page) for _ in range(2))

        def key_before_page() -> KeyEvent | None:
            if after is None:
                return None
            last = after - 1 if newest_first else after + 1
            return next(_of_keys(self._events(last, not newest_first)), None)

        rows = _rows_of(events, again, key_before_page, newest_first=newest_first)
        return islice((row for row in rows if which.fits(row)), limit)

    def at(self, moment: datetime) -> KeyChange | None:
        """Return the change whose key was current at a moment (an aware datetime), if any was."""
        check_moment(moment, "at")
        for change in self.changes(newest_first=True):
            if change.at <= moment and not change.is_of_sessions:
                return None if change.kind == "destroyed" else change
        return None

    def _events(
        self, after: int | None, newest_first: bool, page: int | None = None
    ) -> Iterator[KeyEvent]:
        """Return the events that come after a position, one way round or the other."""
        if newest_first:
            return self._log.key_events(self._manager, before=after, newest_first=True, page=page)
        return self._log.key_events(self._manager, after=after or 0, page=page)


def changes_of(events: Iterable[KeyEvent]) -> dict[str, list[KeyChange]]:
    """Return the history of each manager, by its name, of events in whichever order.

    Args:
        events: genuine ones, such as an `audit` calls its `on_event` with. Of two at one position
            the first one counts.
    """
    found: dict[str, dict[int, KeyEvent]] = defaultdict(dict)
    for event in events:
        found[event.manager].setdefault(event.originator_version, event)
    changes = {}
    for manager, own in found.items():
        in_order = [own[position] for position in sorted(own)]
        changes[manager] = list(_rows_of(iter(in_order), iter(in_order), lambda: None))
    return changes


def _rows_of(
    events: Iterator[KeyEvent],
    again: Iterator[KeyEvent],
    key_before: Callable[[], KeyEvent | None],
    *,
    newest_first: bool = False,
) -> Iterator[KeyChange]:
    """Yield the row of each event of one manager, whichever way round they come.

    How long a key lived is the time between two events of keys, and any number of ends of
    sessions may stand between these. So the events are read a second time, only ever as far as
    the next event of a key.

    Args:
        events: in their order.
        again: the same.
        key_before: returns the event of a key that comes before the first of them.
        newest_first: whether that is their order.
    """
    keys_again = _of_keys(again)
    last: KeyEvent | None = None
    for event in events:
        if isinstance(event, _OF_SESSIONS):
            yield _row(event, None)
            continue
        # The end of all keys ended the one before it, every other event begins one.
        is_end = isinstance(event, SessionKeys.KeysDestroyed)
        if is_end is newest_first:
            other = next((key for key in keys_again if _follows(key, event, newest_first)), None)
        else:
            other = last or key_before()
        begin, end = (other, event) if is_end else (event, other)
        yield _row(event, end.timestamp - begin.timestamp if begin and end else None)
        last = event


def _of_keys(events: Iterator[KeyEvent]) -> Iterator[KeyEvent]:
    return (event for event in events if not isinstance(event, _OF_SESSIONS))


def _follows(one: KeyEvent, other: KeyEvent, newest_first: bool) -> bool:
    positions = one.originator_version, other.originator_version
    return positions[0] < positions[1] if newest_first else positions[0] > positions[1]


def _row(event: KeyEvent, lifetime: timedelta | None) -> KeyChange:
    abandoned: Abandoned | None = getattr(event, "abandoned", None)
    fields: dict[str, Any] = {name: getattr(event, name, None) for name in _SAME}
    return KeyChange(
        position=event.originator_version,
        at=event.timestamp,
        lifetime=lifetime,
        abandoned=None if abandoned is None else abandoned.position,
        clock_went_back=lifetime is not None and lifetime < timedelta(0),
        **fields,
    )
