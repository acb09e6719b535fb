"""What the rows of a log say by themselves: each is genuine, in its place, and follows.

What is wrong becomes a finding. What cannot be judged row by row is judged at the end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.domain import chain
from keyturn.domain.chain import START, Break, break_between, link_of
from keyturn.domain.errors import LogDamagedError, LogError
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import Row
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id
from keyturn.domain.stored_events import BAD_VALUES, read_event
from keyturn.projections.audited_history import History
from keyturn.projections.findings import Finding, FindingKind
from keyturn.projections.rows import stored_of, uuid_of
from keyturn.projections.unproven import Unproven, said_by_event, said_by_row

_NEARBY = 50
_MAX_TRIES = 10_000
_NEEDS_NO_PAST = (SessionKeys.KeyGenerated, SessionKeys.KeyReset, SessionKeys.KeysDestroyed)

Place = tuple[str, int]
"""The name of a manager, or its id in hex, and a position."""


class Damaged(NamedTuple):
    """A row of which only the place can be read, and maybe not even that is right."""

    kind: FindingKind
    message: str
    unproven: Unproven
    stored: StoredEvent | None = None


class AuditedRows:
    """Looks at the rows one by one.

    Attributes:
        node_id: whose they are; None until the first event says it.
        events: how many key events were looked at.
        histories: what was seen, by the name of the manager.
        findings: what is wrong.
        is_quick: whether only the signatures of the newest events are checked.
    """

    def __init__(
        self,
        node_id: str | None,
        host_topics: Collection[str],
        wanted: Collection[Place],
        *,
        quick: bool,
        on_event: Callable[[KeyEvent], None],
    ) -> None:
        self.node_id = node_id
        self.events = 0
        self.histories: dict[str, History] = {}
        self.findings: list[Finding] = []
        self._host_topics = host_topics
        self._wanted = frozenset(wanted)
        self.is_quick = quick
        self._on_event = on_event
        self._damaged: dict[UUID, dict[int, Damaged]] = defaultdict(dict)
        self._misplaced: set[UUID] = set()
        self._tries_left = _MAX_TRIES

    def history_of(self, manager: str) -> History:
        """Return what was seen of a manager, be it nothing."""
        return self.histories.get(manager) or History(manager, manager_id(manager))

    def is_damaged(self, history: History, position: int) -> bool:
        """Whether there is a row at a position that is not genuine."""
        return position in self._damaged.get(history.id, {})

    def is_flawed(self, history: History) -> bool:
        """Whether something was found wrong with a history."""
        return history.id in {*self._damaged, *self._misplaced} or any(
            finding.manager == history.manager and not finding.kind.is_warning
            for finding in self.findings
        )

    def look_at(self, row: Row) -> None:
        if isinstance(row.topic, str) and row.topic in self._host_topics:
            return
        self.events += 1
        id_, position = uuid_of(row.originator_id), row.originator_version
        if type(position) is not int or id_ is None:
            place = position if type(position) is int else None
            self.find(FindingKind.ALTERED, place, None, BAD_VALUES, unproven=said_by_row(row))
        else:
            found = _read_row(row, quick=self.is_quick)
            if isinstance(found, Damaged):
                self._damaged[id_][position] = found
            else:
                self._look_at_genuine(found)

    def _look_at_genuine(self, event: KeyEvent) -> None:
        position, name = event.originator_version, event.manager
        if self.node_id is None:
            self.node_id = event.node_id
        if event.node_id != self.node_id:
            self._misplaced.add(event.originator_id)
            message = f"the event was signed by another node, {event.node_id}"
            self.find(FindingKind.FOREIGN, position, name, message, unproven=said_by_event(event))
            return
        history = self.history_of(name)
        if event.originator_id != history.id:
            self._misplaced.add(event.originator_id)
            message = "the event stands in a history that is not its manager's"
            unproven = said_by_event(event)
            self.find(FindingKind.REORDERED, position, name, message, unproven=unproven)
            return
        self.histories[name] = history
        if self._wanted and {(name, position), (history.id.hex, position)} & self._wanted:
            history.wanted[position] = event
        if position > history.position:
            self._look_at_place(history, event)
        elif position < history.purge:
            first, count = history.put_back or (position, 0)
            history.put_back = (min(first, position), count + 1)
        else:
            message = f"the event was written after that of position {history.position}"
            said = None if history.lacks(position) else said_by_event(event)
            self.find(FindingKind.REORDERED, position, name, message, unproven=said)
            history.late.add(position)
            if said is not None:
                return
        self._on_event(event)

    def _look_at_place(self, history: History, event: KeyEvent) -> None:
        """Compare a genuine event with the genuine one before it."""
        position, before = event.originator_version, history.event
        broken = break_between(START if before is None else link_of(before), event)
        if broken is not None:
            self._vouch_for(history)
        if broken is Break.POSITION:
            history.gaps.append((history.position + 1, position - 1))
        elif broken is Break.PURGE:
            history.put_back = (history.first, history.count)
            history.gaps.clear()
            before = None
        elif broken is not None:
            self.find(FindingKind.ALTERED, position, history.manager, broken.value)
        if before is not None and event.timestamp < before.timestamp:
            message = f"the clock went back by {before.timestamp - event.timestamp}"
            self.find(FindingKind.CLOCK, position, history.manager, message)
        if before is None:
            history.first, history.count = position, 0
        history.count += 1
        history.event = event
        history.purge = position if event.is_purge else history.purge
        if (abandoned := getattr(event, "abandoned", None)) is not None:
            history.rollbacks[abandoned] = position
        self._fold(history, event, follows=broken is None)

    def _fold(self, history: History, event: KeyEvent, *, follows: bool) -> None:
        """Go on with the state, and compare the event's `since` with what follows from it."""
        since = None
        if isinstance(event, _NEEDS_NO_PAST):
            history.begun_by, history.keys = event, None
            since = event.originator_version
        elif not follows:
            history.begun_by = history.keys = None
        else:
            if history.begun_by is not None:
                history.keys, history.begun_by = SessionKeys.fold([history.begun_by]), None
            if history.keys is not None:
                history.keys = SessionKeys.fold([event], history.keys)
                since = history.keys.since
        if since is not None and event.since != since:
            message = f"its `since` is {event.since}, and should be {since}"
            self.find(FindingKind.ALTERED, event.originator_version, history.manager, message)

    def _vouch_for(self, history: History) -> None:
        """Check the signature of the newest event, if that was left out when it was read."""
        if self.is_quick and history.event is not None and not history.event.is_genuine:
            message = "its signature is wrong, so nothing vouches for the events before it"
            self.find(FindingKind.ALTERED, history.position, history.manager, message)

    # --- at the end ---

    def finish(self, managers: Collection[str]) -> None:
        """Judge what could not be judged before.

        Args:
            managers: names that others know of; the rows say the rest.
        """
        names = {manager_id(name): name for name in (*self.histories, *managers)}
        for id_, rows in self._damaged.items():
            self._look_at_damage(id_, rows, names.get(id_))
        for history in self.histories.values():
            self._vouch_for(history)
            self._look_at_gaps(history)
            if history.put_back is not None:
                self.find_put_back(history, *history.put_back, f"position {history.purge}")

    def _look_at_damage(
        self, id_: UUID, rows: Mapping[int, Damaged], manager: str | None
    ) -> None:
        """Say of each damaged row of a history whether it was altered, moved or is not ours."""
        positions = sorted(rows)
        for position in positions:
            kind, message, said, stored = rows[position]
            origin = None if stored is None else self._origin(stored, id_, positions)
            if origin not in (None, position):
                message = f"the event of position {origin} stands here"
                self.find(FindingKind.REORDERED, position, manager, message, unproven=said)
            elif kind is FindingKind.FOREIGN and manager is None:
                self.find(kind, None, None, message, unproven=said)
            else:
                self.find(kind, position, manager, message, unproven=said)

    def _origin(self, stored: StoredEvent, id_: UUID, positions: Sequence[int]) -> int | None:
        """Return the position that an event was signed for, if it is one of these, or likely."""
        try:
            fields = chain.decode_state(stored)
        except LogError:
            return None
        node_id, signature = fields.get("node_id"), fields.get("signature")
        generation = fields.get("generation")
        if not (isinstance(node_id, str) and isinstance(signature, str)):
            return None
        if type(generation) is not int:
            return None
        middle = bisect_left(positions, generation)  # it is not far from its generation
        nearby = positions[max(0, middle - _NEARBY) : middle + _NEARBY]
        for position, topic in product((generation, *nearby), EVENT_CLASSES):
            if self._tries_left == 0:  # each takes its time, and every row may be damaged
                return None
            self._tries_left -= 1
            digest = chain.digest(topic, id_, position, fields)
            if chain.is_signed(node_id, id_, position, digest, signature):
                return position
        return None

    def _look_at_gaps(self, history: History) -> None:
        there = sorted(history.late.union(self._damaged.get(history.id, {})))
        for first, last in history.gaps:
            inside = there[bisect_left(there, first) : bisect_right(there, last)]
            for start, end in _runs_between(first, last, inside):
                count = end - start + 1
                message = "the event is missing" if count == 1 else f"{count} events are missing"
                self.find(FindingKind.MISSING, start, history.manager, message, last=end)

    def find_put_back(self, history: History, first: int, count: int, purge: str) -> None:
        what = "an event that was" if count == 1 else f"{count} events that were"
        message = f"{what} removed for good (purge at {purge}) came back"
        last = history.purge - 1 if history.purge > first else history.position
        self.find(FindingKind.PUT_BACK, first, history.manager, message, last=last)

    def find(
        self,
        kind: FindingKind,
        position: int | None,
        manager: str | None,
        message: str,
        *,
        last: int | None = None,
        unproven: Unproven | None = None,
    ) -> None:
        last = None if last == position else last
        self.findings.append(Finding(kind, position, manager, message, last, unproven))


def _read_row(row: Row, *, quick: bool) -> KeyEvent | Damaged:
    """Return the genuine event of a row with an id and a position, or what is wrong with it."""
    kind, stored = FindingKind.ALTERED, None
    try:
        stored = stored_of(row)
        if stored.topic not in EVENT_CLASSES:
            kind, what = (
                FindingKind.FOREIGN,
                f"a row has the unknown topic {stored.topic[:100]!r}",
            )
            return Damaged(kind, what, said_by_row(row))
        event = read_event(stored)
    except LogDamagedError as error:
        return Damaged(kind, error.what or str(error), said_by_row(row), stored)
    if event.timestamp.tzinfo is None:
        return Damaged(kind, "its time is in no time zone", said_by_row(row), stored)
    if not quick and not event.is_genuine:
        return Damaged(kind, "its signature is wrong", said_by_row(row), stored)
    return event


def _runs_between(first: int, last: int, there: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of positions that are not there."""
    for position in there:
        if first < position:
            yield first, position - 1
        first = position + 1
    if first <= last:
        yield first, last
