"""The history of key changes, as people read it: one row a change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from keyturn.domain.errors import FilterError
from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import KINDS, SessionKeys


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One change of the keys of a manager.

    Attributes:
        position: its place in the history of this manager, from 1 on, without gaps.
        kind: generated, reset, rotated or destroyed.
        generation: of the key that this change made current; of `destroyed`, that it ended.
        key_id: the public fingerprint of that key.
        at: when, in UTC.
        initiator: who did it.
        reason: why, if somebody said so.
        node_id: the node whose key ring signed the event.
        digest: the SHA-256 of the event, in hex.
        lifetime: how long that generation was current; None while it is.
        overlap: of `rotated`, for how many seconds the keys before may stay good; else None.
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


def check_moment(moment: datetime | None, name: str) -> None:
    """Raise `FilterError` for a moment that does not say in which time zone it is."""
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise FilterError(f"{name} is an aware datetime, such as datetime.now(UTC)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFilter:
    """Which changes to show; all that is given must fit.

    Attributes:
        since: not before this moment (an aware datetime).
        until: not behind this moment.
        generation: of this generation.
        initiator: by this initiator.
        kind: generated, reset, rotated or destroyed.
    """

    since: datetime | None = None
    until: datetime | None = None
    generation: int | None = None
    initiator: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            check_moment(getattr(self, name), name)
        if self.kind is not None and self.kind not in KINDS.values():
            kinds = ", ".join(KINDS.values())
            raise FilterError(f"there is no kind {self.kind!r} of change, only {kinds}")

    def fits(self, change: KeyChange) -> bool:
        """Whether a change is to be shown."""
        return (
            (self.since is None or change.at >= self.since)
            and (self.until is None or change.at <= self.until)
            and (self.generation is None or change.generation == self.generation)
            and (self.initiator is None or change.initiator == self.initiator)
            and (self.kind is None or change.kind == self.kind)
        )


EVERYTHING = HistoryFilter()


@dataclass(frozen=True, slots=True)
class KeySpan:
    """From when to when a key was good.

    Attributes:
        began_with: the event that made it current.
        ended_with: the event that ended it, or began its overlap; None while it is current.
        ends_at: when it ended, its overlap included; None while it is current.
    """

    began_with: SessionKeys.Event
    ended_with: SessionKeys.Event | None
    ends_at: datetime | None


class RotationHistory:
    """The changes of one manager's keys, read from the log page by page. Needs no password."""

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
        behind: int | None = None,
        limit: int | None = None,
    ) -> Iterator[KeyChange]:
        """Yield changes, oldest first unless told otherwise.

        Args:
            which: those to show.
            newest_first: the other way round.
            behind: the position of the last row of the page before: go on behind it.
            limit: how many at the most; None: all.
        """
        if limit is not None and limit < 0:
            raise FilterError(f"a limit is a number of rows ≥ 0, not {limit}")
        if limit == 0:
            return iter(())
        page = None if limit is None or which != EVERYTHING else limit + 2
        # From the neighbour of the first row on: its lifetime takes that one too.
        bounds = (0, None) if behind is None else (behind - 1, behind + 1)
        events = self._log.key_events(
            self._manager,
            after=0 if newest_first else bounds[0],
            before=bounds[1] if newest_first else None,
            newest_first=newest_first,
            page=page,
        )
        rows = rows_of(events, newest_first=newest_first)
        shown = (row for row in rows if _is_behind(row, behind, newest_first) and which.fits(row))
        return islice(shown, limit)

    def at(self, moment: datetime) -> KeyChange | None:
        """Return the change whose key was current at a moment (an aware datetime), if any was."""
        check_moment(moment, "at")
        for change in self.changes(newest_first=True):
            if change.at <= moment:
                return None if change.kind == "destroyed" else change
        return None

    def span_of(self, key_id: str) -> KeySpan | None:
        """Return when the key of this id was good, None if there never was one."""
        later: SessionKeys.Event | None = None
        full_stop: SessionKeys.Event | None = None
        for event in self._log.key_events(self._manager, newest_first=True):
            if event.key_id == key_id and event.kind != "destroyed":
                return _span(event, later, full_stop)
            later = event
            if event.kind != "rotated":
                full_stop = event
        return None


def _span(
    event: SessionKeys.Event,
    later: SessionKeys.Event | None,
    full_stop: SessionKeys.Event | None,
) -> KeySpan:
    """Return the span of a key, by the change behind its own and the next that is no rotation."""
    if later is None:
        return KeySpan(event, None, None)
    if not isinstance(later, SessionKeys.KeyRotated):
        return KeySpan(event, later, later.timestamp)
    overlap_ends = later.timestamp + timedelta(seconds=later.overlap)
    if full_stop is not None and full_stop.timestamp < overlap_ends:
        return KeySpan(event, full_stop, full_stop.timestamp)
    return KeySpan(event, later, overlap_ends)


def _is_behind(row: KeyChange, behind: int | None, newest_first: bool) -> bool:
    return behind is None or (row.position < behind if newest_first else row.position > behind)


def rows_of(
    events: Iterator[SessionKeys.Event], *, newest_first: bool = False
) -> Iterator[KeyChange]:
    """Yield the row of each event of one manager, whichever way round they come."""
    for before, event, behind in _with_neighbours(events):
        yield _row(event, *((behind, before) if newest_first else (before, behind)))


def _row(
    event: SessionKeys.Event, earlier: SessionKeys.Event | None, later: SessionKeys.Event | None
) -> KeyChange:
    if event.kind == "destroyed":
        lifetime = None if earlier is None else event.timestamp - earlier.timestamp
    else:
        lifetime = None if later is None else later.timestamp - event.timestamp
    return KeyChange(
        position=event.originator_version,
        kind=event.kind,
        generation=event.generation,
        key_id=event.key_id,
        at=event.timestamp,
        initiator=event.initiator,
        reason=event.reason,
        node_id=event.node_id,
        digest=event.digest,
        lifetime=lifetime,
        overlap=event.overlap if isinstance(event, SessionKeys.KeyRotated) else None,
    )


def _with_neighbours(
    events: Iterator[SessionKeys.Event],
) -> Iterator[tuple[SessionKeys.Event | None, SessionKeys.Event, SessionKeys.Event | None]]:
    before: SessionKeys.Event | None = None
    event = next(events, None)
    while event is not None:
        behind = next(events, None)
        yield before, event, behind
        before, event = event, behind
