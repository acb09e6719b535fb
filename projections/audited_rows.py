"""What the rows of a log say by themselves: each is genuine, in its place, and follows.

What is wrong becomes a finding. What cannot be judged row by row is judged at the end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.domain import chain
from keyturn.domain.chain import START, Break, break_between
from keyturn.domain.errors import LogDamagedError, NotAKeyturnLogError
from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.key_log import Row
from keyturn.domain.mark import Mark
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id
from keyturn.domain.stored_events import BAD_VALUES, read_event, stored_of, uuid_of
from keyturn.projections.findings import Finding, FindingKind
from keyturn.projections.unproven import Unproven, said_by_event, said_by_row

_MAX_TRIES = 10_000
"""Signatures to check, in all, for where an event came from that stands elsewhere."""

_NEEDS_NO_PAST = (SessionKeys.KeyGenerated, SessionKeys.KeyReset, SessionKeys.KeysDestroyed)


@dataclass(slots=True)
class History:
    """What was seen of one stream so far: its newest genuine event, and what is not there.

    Attributes:
        id: of the stream.
        manager: whose it is; None until a genuine event or somebody else says it.
        event: the newest genuine one.
        keys: the state after it; None where a part is missing that it depends on.
        first: the position of the first genuine event.
        purge: the position of the event that says that all before it were removed; 0: none.
        put_back: the position of the first such event that is there; 0: none is.
        gaps: first and last position of each run of events that were not there in time.
        late: positions of events that were written after later ones.
        rollbacks: position of each accepted rollback, by what it abandoned.
        damaged: by position, what is wrong with a row that is not genuine, and the row if it has
            the values of one of ours.
        wanted: the events at positions that an anchor or a checkpoint has seen.
        mark: what the anchor has seen of it.
        is_end_known: whether an anchor or a checkpoint knows where it ends.
        is_flawed: whether something is wrong with it.
    """

    id: UUID
    manager: str | None = None
    event: KeyEvent | None = None
    keys: SessionKeys | None = None
    first: int = 0
    purge: int = 0
    put_back: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    rollbacks: dict[Abandoned, int] = field(default_factory=dict)
    damaged: dict[int, tuple[Finding, StoredEvent | None]] = field(default_factory=dict)
    wanted: dict[int, KeyEvent] = field(default_factory=dict)
    mark: Mark | None = None
    is_end_known: bool = False
    is_flawed: bool = False

    @property
    def position(self) -> int:
        return 0 if self.event is None else self.event.originator_version

    def lacks(self, position: int) -> bool:
        """Whether the genuine event of a position up to the newest was not there so far."""
        after = bisect_right(self.gaps, (position, self.position))
        is_in_gap = after > 0 and position <= self.gaps[after - 1][1]
        return is_in_gap and position not in self.late


@dataclass(slots=True)
class AuditedRows:
    """Looks at the rows one by one.

    Attributes:
        node_id: whose they are; None until the first event says it.
        host_topics: whose rows are passed over.
        is_quick: whether only the signatures of the newest events are checked.
        on_event: called with each genuine event in its place.
        events: how many key events were looked at.
        histories: what was seen, by the id of the stream.
        findings: what is wrong.
        wanted: which events to keep: those that an anchor or a checkpoint has seen.
        tries_left: how many more signatures may be checked to find where an event came from.
    """

    node_id: str | None
    host_topics: Collection[str]
    is_quick: bool
    on_event: Callable[[KeyEvent], None]
    events: int = 0
    histories: dict[UUID, History] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    wanted: set[tuple[UUID, int]] = field(default_factory=set)
    tries_left: int = _MAX_TRIES

    def history(self, id_: UUID) -> History:
        """Return what was seen of a stream, be it nothing."""
        if id_ not in self.histories:
            self.histories[id_] = History(id_)
        return self.histories[id_]

    def look_at(self, row: Row) -> None:
        if isinstance(row.topic, str) and row.topic in self.host_topics:
            return
        self.events += 1
        id_, position = uuid_of(row.originator_id), row.originator_version
        if type(position) is not int or id_ is None:
            known = position if type(position) is int else None
            self.find(None, FindingKind.ALTERED, known, BAD_VALUES, said_by_row(row))
            return
        history, stored = self.history(id_), None
        try:
            stored = stored_of(row)
            event = read_event(stored)
            if not (self.is_quick or event.is_genuine):
                raise chain.altered(stored, "its signature is wrong")
        except LogDamagedError as error:
            what, said = error.what or str(error), said_by_row(row)
            finding = Finding(FindingKind.ALTERED, position, None, what, unproven=said)
            history.damaged[position] = finding, stored
        except NotAKeyturnLogError as error:
            said = said_by_row(row)
            finding = Finding(FindingKind.FOREIGN, position, None, str(error), unproven=said)
            history.damaged[position] = finding, None
        else:
            self._look_at_genuine(history, event)

    def find(
        self,
        history: History | None,
        kind: FindingKind,
        position: int | None,
        message: str,
        unproven: Unproven | None = None,
        *,
        last: int | None = None,
        manager: str | None = None,
    ) -> None:
        """Note what is wrong with a history; `manager` is its own unless one is named."""
        if history is not None:
            manager = manager or history.manager
            history.is_flawed |= not kind.is_warning
        last = None if last == position else last
        self.findings.append(Finding(kind, position, manager, message, last, unproven))

    def _look_at_genuine(self, history: History, event: KeyEvent) -> None:
        position, name = event.originator_version, event.manager
        if self.node_id is None:
            self.node_id = event.node_id
        if event.node_id != self.node_id:
            message = f"the event was signed by another node, {event.node_id}"
            said = said_by_event(event)
            self.find(history, FindingKind.FOREIGN, position, message, said, manager=name)
            return
        if history.id != manager_id(name):
            message = "the event stands in a history that is not its manager's"
            said = said_by_event(event)
            self.find(history, FindingKind.REORDERED, position, message, said, manager=name)
            return
        history.manager = name
        if (history.id, position) in self.wanted:
            history.wanted[position] = event
        if position > history.position:
            self._look_at_place(history, event)
        elif position < history.purge:
            history.put_back = min(history.put_back or position, position)
        else:
            message = f"the event was written after that of position {history.position}"
            is_in_place_of_none = history.lacks(position)
            unproven = None if is_in_place_of_none else said_by_event(event)
            self.find(history, FindingKind.REORDERED, position, message, unproven)
            history.late.add(position)
            if not is_in_place_of_none:
                return
        self.on_event(event)

    def _look_at_place(self, history: History, event: KeyEvent) -> None:
        """Compare a genuine event with the genuine one before it."""
        position, before = event.originator_version, history.event
        broken = break_between(START if before is None else before.link, event)
        if broken is not None:
            self._vouch_for(history)
        if broken is Break.POSITION:
            history.gaps.append((history.position + 1, position - 1))
        elif broken is Break.PURGE:
            history.put_back = history.first
            history.gaps.clear()
            before = None
        elif broken is not None:
            self.find(history, FindingKind.ALTERED, position, broken.value)
        if before is None:
            history.first = position
        elif event.timestamp < before.timestamp:
            message = f"the clock went back by {before.timestamp - event.timestamp}"
            self.find(history, FindingKind.CLOCK, position, message)
        history.event = event
        history.purge = position if event.is_purge else history.purge
        if (abandoned := getattr(event, "abandoned", None)) is not None:
            history.rollbacks[abandoned] = position
        self._fold(history, event, follows=broken is None)

    def _fold(self, history: History, event: KeyEvent, *, follows: bool) -> None:
        """Go on with the state, and compare the event's `since` with what follows from it."""
        if isinstance(event, _NEEDS_NO_PAST):
            history.keys = SessionKeys.fold([event])
        elif not follows:
            history.keys = None
        elif history.keys is not None:
            history.keys = SessionKeys.fold([event], history.keys)
        if history.keys is not None and event.since != history.keys.since:
            message = f"its `since` is {event.since}, and should be {history.keys.since}"
            self.find(history, FindingKind.ALTERED, event.originator_version, message)

    def _vouch_for(self, history: History) -> None:
        """Check the signature of the newest event, if that was left out when it was read."""
        if self.is_quick and history.event is not None and not history.event.is_genuine:
            message = "its signature is wrong, so nothing vouches for the events before it"
            self.find(history, FindingKind.ALTERED, history.position, message)

    # --- at the end ---

    def finish(self) -> None:
        """Judge what could not be judged before."""
        for history in self.histories.values():
            self._look_at_damage(history)
            self._vouch_for(history)
            self._look_at_gaps(history)
            if history.put_back:
                self.find_put_back(history, history.put_back, f"position {history.purge}")

    def find_put_back(self, history: History, first: int, purge: str) -> None:
        message = f"what was removed for good (purge at {purge}) came back"
        last = history.purge - 1 if history.purge > first else history.position
        self.find(history, FindingKind.PUT_BACK, first, message, last=last)

    def _look_at_damage(self, history: History) -> None:
        """Say of each damaged row of a history whether it was altered, moved or is not ours."""
        history.is_flawed |= bool(history.damaged)
        positions = sorted(history.damaged)
        for position in positions:
            finding, stored = history.damaged[position]
            origin = None if stored is None else self._origin(stored, history.id, positions)
            if origin not in (None, position):
                message = f"the event of position {origin} stands here"
                finding = replace(finding, kind=FindingKind.REORDERED, message=message)
            elif finding.kind is FindingKind.FOREIGN and history.manager is None:
                finding = replace(finding, position=None)
            self.findings.append(replace(finding, manager=history.manager))

    def _origin(self, stored: StoredEvent, id_: UUID, positions: Sequence[int]) -> int | None:
        """Return which of these positions an event was signed for, if that is found."""
        try:
            fields = chain.decode_state(stored)
        except LogDamagedError:
            return None
        node_id, signature = fields.get("node_id"), fields.get("signature")
        if not (isinstance(node_id, str) and isinstance(signature, str)):
            return None
        for position, topic in product(positions, EVENT_CLASSES):
            if self.tries_left == 0:  # each takes its time, and every row may be damaged
                return None
            self.tries_left -= 1
            digest = chain.digest(topic, id_, position, fields)
            if chain.is_signed(node_id, id_, position, digest, signature):
                return position
        return None

    def _look_at_gaps(self, history: History) -> None:
        there = sorted({*history.late, *history.damaged})
        for first, last in history.gaps:
            inside = there[bisect_left(there, first) : bisect_right(there, last)]
            for start, end in _runs_between(first, last, inside):
                count = end - start + 1
                message = "the event is missing" if count == 1 else f"{count} events are missing"
                self.find(history, FindingKind.MISSING, start, message, last=end)


def _runs_between(first: int, last: int, there: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of positions that are not there."""
    for position in there:
        if first < position:
            yield first, position - 1
        first = position + 1
    if first <= last:
        yield first, last
