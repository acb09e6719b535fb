"""The audit: whether the record can be trusted, and where and how not.

Every row is looked at as it lies there; what is wrong becomes a finding, never an exception.
Nothing but the log is needed: no password. The node id to expect, an anchor and a checkpoint
make the verdict stronger: without them a record that was cut short, or made up as a whole by
another node, cannot be told from the real one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.config.anchor import Anchor, Mark
from keyturn.domain import provenance
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import AnchorError, LogError
from keyturn.domain.event_mapper import read_event
from keyturn.domain.key_log import KeyLog, Row
from keyturn.domain.provenance import NO_DIGEST
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id
from keyturn.projections.findings import AuditReport, Finding, FindingKind
from keyturn.projections.history import KeyChange, rows_of

_NEARBY = 50
_MAX_TRIES = 10_000
_NO_EVENT = "a row holds values of no event"


@dataclass(slots=True)
class _History:
    """What was seen of one manager so far: its newest genuine event, and what is not there."""

    manager: str
    event: SessionKeys.Event | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    seen: dict[int, SessionKeys.Event] = field(default_factory=dict)

    @property
    def position(self) -> int:
        return 0 if self.event is None else self.event.originator_version


class _Damaged(NamedTuple):
    """A row of which only the place can be read, and maybe not even that is right."""

    kind: FindingKind
    message: str
    stored: StoredEvent | None = None


def audit(
    log: KeyLog,
    *,
    node_id: str | None = None,
    anchor: Anchor | None = None,
    marks: Mapping[str, Mark] | None = None,
    against: Checkpoint | None = None,
    host_topics: Collection[str] = (),
    progress: Callable[[int], None] = lambda events: None,
) -> AuditReport:
    """Look at every row of a log, and say whether the record can be trusted.

    Args:
        log: the log.
        node_id: whose it should be; None: whoever signed its first event.
        anchor: remembers where the history of each manager must reach.
        marks: the same, for who has it from elsewhere.
        against: a checkpoint that the log must contain.
        host_topics: topics of a host that keeps aggregates in the same log.
        progress: called now and then with the number of events looked at.
    """
    auditor = _Auditor(node_id, marks or {}, against, frozenset(host_topics))
    if anchor is not None:
        auditor.take_marks(anchor)
    for row in log.rows():
        auditor.look_at(row)
        if auditor.events % 500 == 0:
            progress(auditor.events)
    report = auditor.report()
    progress(report.events)
    return report


def readable_changes(log: KeyLog) -> dict[str, list[KeyChange]]:
    """Return what can be read of each manager's history, whatever else is wrong with the log."""
    events: dict[str, dict[int, SessionKeys.Event]] = defaultdict(dict)
    for row in log.rows():
        id_, position = _uuid(row.originator_id), row.originator_version
        if id_ is not None and type(position) is int:
            found = _read(id_, position, row.topic, row.state)
            if not isinstance(found, _Damaged):
                events[found.manager][position] = found
    return {
        manager: list(rows_of(iter([found[position] for position in sorted(found)])))
        for manager, found in events.items()
    }


class _Auditor:
    """Looks at the rows one by one; what cannot be judged yet is judged at the end."""

    def __init__(
        self,
        node_id: str | None,
        marks: Mapping[str, Mark],
        against: Checkpoint | None,
        host_topics: frozenset[str],
    ) -> None:
        self._node_id = node_id
        self._is_node_known = node_id is not None
        self._marks = dict(marks)
        self._host_topics = host_topics
        self._against = against
        self.events = 0
        self._histories: dict[str, _History] = {}
        self._damaged: dict[UUID, dict[int, _Damaged]] = defaultdict(dict)
        self._tries_left = _MAX_TRIES
        self._findings: list[Finding] = []

    def take_marks(self, anchor: Anchor) -> None:
        try:
            self._marks |= anchor.marks()
        except AnchorError as error:
            message = f"{error}".partition(";")[0]
            self._find(FindingKind.ALTERED, None, None, message)

    def look_at(self, row: Row) -> None:
        if isinstance(row.topic, str) and row.topic in self._host_topics:
            return
        self.events += 1
        id_, position = _uuid(row.originator_id), row.originator_version
        if type(position) is not int:
            self._find(FindingKind.ALTERED, None, None, _NO_EVENT)
        elif id_ is None:
            self._find(FindingKind.ALTERED, position, None, _NO_EVENT)
        else:
            found = _read(id_, position, row.topic, row.state)
            if isinstance(found, _Damaged):
                self._damaged[id_][position] = found
            else:
                self._look_at_genuine(found)

    def _look_at_genuine(self, event: SessionKeys.Event) -> None:
        position, name = event.originator_version, event.manager
        if self._node_id is None:
            self._node_id = event.node_id
        if event.node_id != self._node_id:
            message = f"the event was signed by another node, {event.node_id}"
            self._find(FindingKind.FOREIGN, position, name, message)
            return
        if event.originator_id != manager_id(name):
            message = "the event stands in a history that is not its manager's"
            self._find(FindingKind.REORDERED, position, name, message)
            return
        history = self._histories.setdefault(name, _History(name))
        if self._is_wanted(name, position):
            history.seen[position] = event
        if position <= history.position:
            message = f"the event was written behind that of position {history.position}"
            self._find(FindingKind.REORDERED, position, name, message)
            history.late.add(position)
            return
        self._look_at_place(history, event)
        history.event = event

    def _look_at_place(self, history: _History, event: SessionKeys.Event) -> None:
        """Compare a genuine event with the genuine one before it."""
        position, before = event.originator_version, history.event
        if position > history.position + 1:
            history.gaps.append((history.position + 1, position - 1))
        elif event.previous_digest != (NO_DIGEST if before is None else before.digest):
            message = "the event does not follow the one before it: one of them was replaced"
            self._find(FindingKind.ALTERED, position, history.manager, message)
        elif event.generation != _next_generation(before, event):
            message = f"its generation, {event.generation}, does not follow the one before"
            self._find(FindingKind.ALTERED, position, history.manager, message)
        if before is not None and event.timestamp < before.timestamp:
            message = f"the clock went back by {before.timestamp - event.timestamp}"
            self._find(FindingKind.CLOCK, position, history.manager, message)

    def report(self) -> AuditReport:
        names = {manager_id(name): name for name in (*self._histories, *self._marks)}
        for id_, rows in self._damaged.items():
            self._look_at_damage(id_, rows, names.get(id_))
        for history in self._histories.values():
            self._look_at_gaps(history)
        for name, mark in self._marks.items():
            self._look_for(name, mark.position, mark.digest, "the anchor")
        if self._against is not None:
            self._hold_against(self._against)
        heads = {
            name: Checkpoint.of(history.event)
            for name, history in self._histories.items()
            if history.event is not None
        }
        findings = sorted(self._findings, key=lambda f: (f.manager or "", f.position or 0))
        return AuditReport(
            self._node_id, self.events, heads, tuple(findings), self._held_against()
        )

    def _held_against(self) -> tuple[str, ...]:
        witnesses = {
            "node id": self._is_node_known,
            "anchor": bool(self._marks),
            "checkpoint": self._against is not None,
        }
        return tuple(name for name, is_there in witnesses.items() if is_there)

    def _look_at_damage(
        self, id_: UUID, rows: Mapping[int, _Damaged], manager: str | None
    ) -> None:
        """Say of each damaged row of a history whether it was altered, moved or is not ours."""
        positions = sorted(rows)
        for position in positions:
            kind, message, stored = rows[position]
            origin = None if stored is None else self._origin(stored, id_, positions)
            if origin not in (None, position):
                message = f"the event of position {origin} stands here"
                self._find(FindingKind.REORDERED, position, manager, message)
            elif kind is FindingKind.FOREIGN and manager is None:
                self._find(kind, None, None, message)
            else:
                self._find(kind, position, manager, message)

    def _origin(self, stored: StoredEvent, id_: UUID, positions: Sequence[int]) -> int | None:
        """Return the position that an event was signed for, if it is one of these, or likely."""
        try:
            fields = provenance.decode_state(stored)
        except LogError:
            return None
        node_id, signature = fields.get("node_id"), fields.get("signature")
        generation = fields.get("generation")
        if not (isinstance(node_id, str) and isinstance(signature, str)):
            return None
        if type(generation) is not int:
            return None
        middle = bisect_left(positions, generation)  # it is not far behind its generation
        nearby = positions[max(0, middle - _NEARBY) : middle + _NEARBY]
        for position, topic in product((generation, *nearby), EVENT_CLASSES):
            if self._tries_left == 0:  # each takes its time, and every row may be damaged
                return None
            self._tries_left -= 1
            digest = provenance.digest(topic, id_, position, fields)
            if provenance.is_signed(node_id, id_, position, digest, signature):
                return position
        return None

    def _look_at_gaps(self, history: _History) -> None:
        damaged = self._damaged.get(manager_id(history.manager), {})
        there = sorted(history.late.union(damaged))
        for first, last in history.gaps:
            inside = there[bisect_left(there, first) : bisect_right(there, last)]
            for start, end in _runs_between(first, last, inside):
                count = end - start + 1
                message = "the event is missing" if count == 1 else f"{count} events are missing"
                self._find(FindingKind.MISSING, start, history.manager, message)

    def _hold_against(self, point: Checkpoint) -> None:
        if self._node_id is not None and point.node_id != self._node_id:
            message = f"the checkpoint is of another node, {point.node_id}"
            self._find(FindingKind.FOREIGN, point.position, point.manager, message)
            return
        self._look_for(point.manager, point.position, point.digest, "the checkpoint")
        history = self._histories.get(point.manager)
        event = None if history is None else history.seen.get(point.position)
        if event is not None and event.digest == point.digest and event.timestamp != point.at:
            message = f"the checkpoint was altered: this happened at {event.timestamp}"
            self._find(FindingKind.ALTERED, point.position, point.manager, message)

    def _look_for(self, manager: str, position: int, digest: str, witness: str) -> None:
        """Hold a history against what somebody saw of it."""
        history = self._histories.get(manager, _History(manager))
        event = history.seen.get(position)
        if event is not None:
            if event.digest != digest:
                message = f"{witness} has seen another event here"
                self._find(FindingKind.ALTERED, position, manager, message)
        elif position > history.position and position not in self._damaged.get(
            manager_id(manager), {}
        ):
            message = f"the history ends before position {position}, which {witness} has seen"
            self._find(FindingKind.TRUNCATED, position, manager, message)

    def _is_wanted(self, manager: str, position: int) -> bool:
        mark, point = self._marks.get(manager), self._against
        return (mark is not None and mark.position == position) or (
            point is not None and (point.manager, point.position) == (manager, position)
        )

    def _find(
        self, kind: FindingKind, position: int | None, manager: str | None, message: str
    ) -> None:
        self._findings.append(Finding(kind, position, manager, message))


def _next_generation(before: SessionKeys.Event | None, event: SessionKeys.Event) -> int:
    return (0 if before is None else before.generation) + (event.kind != "destroyed")


def _read(id_: UUID, position: int, topic: object, state: object) -> SessionKeys.Event | _Damaged:
    """Return the genuine event of a row, or what is wrong with it."""
    if type(topic) is not str or type(state) is not bytes:
        return _Damaged(FindingKind.ALTERED, _NO_EVENT)
    if topic not in EVENT_CLASSES:
        return _Damaged(FindingKind.FOREIGN, f"a row has the alien topic {topic[:100]!r}")
    stored = StoredEvent(id_, position, topic, state)
    try:
        provenance.verify(stored)
        event = read_event(stored)
    except LogError as error:
        what = str(error.args[0]).partition(": ")[2].partition(";")[0]
        return _Damaged(FindingKind.ALTERED, what, stored)
    if event.timestamp.tzinfo is None:
        return _Damaged(FindingKind.ALTERED, "its time is in no time zone", stored)
    return event


def _uuid(value: object) -> UUID | None:
    """Return the id that a column holds as eventsourcing writes it, else None."""
    try:
        uuid = UUID(hex=value) if isinstance(value, str) else None
    except ValueError:
        return None
    return uuid if uuid is not None and uuid.hex == value else None


def _runs_between(first: int, last: int, there: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of positions that are not there."""
    for position in there:
        if first < position:
            yield first, position - 1
        first = position + 1
    if first <= last:
        yield first, last
