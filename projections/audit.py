"""The audit: whether the record can be trusted, and where and how not.

Every row is looked at as it lies there; what is wrong becomes a finding, never an exception.
Nothing but the log is needed: no password. The node id to expect, an anchor and a checkpoint
make the verdict stronger: without them a record that was cut short, or made up as a whole by
another node, cannot be told from the real one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from keyturn.domain import provenance
from keyturn.domain.anchor import Mark
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import LogError
from keyturn.domain.event_mapper import read_event
from keyturn.domain.key_log import KeyLog, Row
from keyturn.domain.session_keys import EVENT_CLASSES, SessionKeys, manager_id

_MAX_CANDIDATES = 100


class FindingKind(enum.Enum):
    """What is wrong."""

    ALTERED = "altered"
    MISSING = "missing"
    REORDERED = "reordered"
    FOREIGN = "foreign"
    TRUNCATED = "truncated"
    CLOCK = "clock"

    @property
    def is_warning(self) -> bool:
        """Whether the record holds all the same."""
        return self is FindingKind.CLOCK


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the record.

    Attributes:
        kind: what.
        position: where in the history, if it is known.
        manager: in whose, if it is known.
        message: what it means.
    """

    kind: FindingKind
    position: int | None
    manager: str | None
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The verdict on a log.

    Attributes:
        node_id: the node that the record was held against; None for an empty log.
        events: how many key events were looked at.
        heads: the newest genuine event of each manager, as a checkpoint, by name.
        findings: what is wrong, in the order of the log.
    """

    node_id: str | None
    events: int
    heads: Mapping[str, Checkpoint]
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether the record can be trusted: nothing is wrong but, maybe, a clock."""
        return all(finding.kind.is_warning for finding in self.findings)


@dataclass(slots=True)
class _History:
    """What was seen of one manager so far: its newest genuine event, and what is not there."""

    manager: str
    event: SessionKeys.Event | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)

    @property
    def position(self) -> int:
        return 0 if self.event is None else self.event.originator_version


def audit(
    log: KeyLog,
    *,
    node_id: str | None = None,
    marks: Mapping[str, Mark] | None = None,
    against: Checkpoint | None = None,
    host_topics: Collection[str] = (),
    progress: Callable[[int], None] = lambda events: None,
) -> AuditReport:
    """Look at every row of a log, and say whether the record can be trusted.

    Args:
        log: the log.
        node_id: whose it should be; None: whoever signed its first event.
        marks: where the history of each manager must reach: what the anchor says.
        against: a checkpoint that the log must contain.
        host_topics: topics of a host that keeps aggregates in the same log.
        progress: called now and then with the number of events looked at.
    """
    auditor = _Auditor(node_id, marks or {}, against, frozenset(host_topics))
    for number, row in enumerate(log.rows(), 1):
        auditor.look_at(row)
        if number % 500 == 0:
            progress(number)
    report = auditor.report()
    progress(report.events)
    return report


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
        self._marks = dict(marks)
        self._host_topics = host_topics
        self._against = against
        self._events = 0
        self._histories: dict[str, _History] = {}
        self._altered: dict[tuple[UUID, int], StoredEvent] = {}
        self._findings: list[Finding] = []

    def look_at(self, row: Row) -> None:
        if isinstance(row.topic, str) and row.topic in self._host_topics:
            return
        self._events += 1
        stored = _stored(row)
        if stored is None:
            position = row.originator_version if type(row.originator_version) is int else None
            self._find(FindingKind.ALTERED, position, None, "a row holds values of no event")
            return
        if stored.topic not in EVENT_CLASSES:
            topic = stored.topic[:100]
            self._find(FindingKind.FOREIGN, None, None, f"a row has the alien topic {topic!r}")
            return
        try:
            provenance.verify(stored)
            event = read_event(stored)
        except LogError:
            self._altered[UUID(str(stored.originator_id)), stored.originator_version] = stored
            return
        self._look_at_genuine(event)

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
            history.digests[position] = event.digest
        if position <= history.position:
            message = f"the event was written behind that of position {history.position}"
            self._find(FindingKind.REORDERED, position, name, message)
            return
        self._look_at_place(history, event)
        history.event = event

    def _look_at_place(self, history: _History, event: SessionKeys.Event) -> None:
        """Compare a genuine event with the genuine one before it."""
        position, before = event.originator_version, history.event
        if position > history.position + 1:
            history.gaps.append((history.position + 1, position - 1))
        elif before is not None and event.previous_digest != before.digest:
            message = "the event does not follow the one before it: one of them was replaced"
            self._find(FindingKind.ALTERED, position, history.manager, message)
        elif event.generation != _next_generation(before, event):
            message = f"its generation, {event.generation}, does not follow the one before"
            self._find(FindingKind.ALTERED, position, history.manager, message)
        if before is not None and event.timestamp < before.timestamp:
            message = f"the clock went back by {before.timestamp - event.timestamp}"
            self._find(FindingKind.CLOCK, position, history.manager, message)

    def report(self) -> AuditReport:
        for history in self._histories.values():
            for first, last in history.gaps:
                self._look_at_gap(history.manager, first, last)
        for name, mark in self._marks.items():
            self._look_for(name, mark.position, mark.digest, "the anchor")
        if self._against is not None:
            point = self._against
            self._look_for(point.manager, point.position, point.digest, "the checkpoint")
        names = {manager_id(name): name for name in (*self._histories, *self._marks)}
        for (id_, position), stored in self._altered.items():
            self._find(FindingKind.ALTERED, position, names.get(id_), _what_is_wrong(stored))
        heads = {
            name: Checkpoint.of(history.event)
            for name, history in self._histories.items()
            if history.event is not None
        }
        findings = sorted(self._findings, key=lambda f: (f.manager or "", f.position or 0))
        return AuditReport(self._node_id, self._events, heads, tuple(findings))

    def _look_at_gap(self, manager: str, first: int, last: int) -> None:
        """Say of each position of a gap whether its event was altered, moved, or is missing."""
        id_ = manager_id(manager)
        altered = {p: s for (i, p), s in self._altered.items() if i == id_ and first <= p <= last}
        for position, stored in altered.items():
            origin = _origin(stored, [p for (i, p) in self._altered if i == id_])
            if origin is not None and origin != position:
                message = f"the event of position {origin} stands here"
                self._find(FindingKind.REORDERED, position, manager, message)
            else:
                self._find(FindingKind.ALTERED, position, manager, _what_is_wrong(stored))
        for position in altered:
            del self._altered[id_, position]
        for start, end in _runs(p for p in range(first, last + 1) if p not in altered):
            count = end - start + 1
            message = "the event is missing" if count == 1 else f"{count} events are missing"
            self._find(FindingKind.MISSING, start, manager, message)

    def _look_for(self, manager: str, position: int, digest: str, witness: str) -> None:
        """Hold a history against what somebody saw of it."""
        history = self._histories.get(manager, _History(manager))
        if history.digests.get(position) == digest:
            return
        if position > history.position and (manager_id(manager), position) not in self._altered:
            message = f"the history ends before position {position}, which {witness} has seen"
            self._find(FindingKind.TRUNCATED, position, manager, message)
        elif position in history.digests:
            message = f"{witness} has seen another event here"
            self._find(FindingKind.ALTERED, position, manager, message)

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


def _stored(row: Row) -> StoredEvent | None:
    """Return a row as eventsourcing has it, None if its values have other types."""
    id_, position, topic, state = row
    types = (type(id_), type(position), type(topic), type(state))
    if types != (str, int, str, bytes):
        return None
    try:
        uuid = UUID(hex=str(id_))
    except ValueError:
        return None
    if uuid.hex != id_:
        return None
    assert isinstance(position, int)
    assert isinstance(topic, str)
    assert isinstance(state, bytes)
    return StoredEvent(uuid, position, topic, state)


def _what_is_wrong(stored: StoredEvent) -> str:
    try:
        provenance.verify(stored)
        read_event(stored)
    except LogError as error:
        return str(error.args[0]).partition(": ")[2].partition(";")[0]
    return "the event stands behind the end of its history"


def _origin(stored: StoredEvent, positions: Collection[int]) -> int | None:
    """Return the position that an event was signed for, if it is one of these."""
    try:
        fields = provenance.decode_state(stored)
    except LogError:
        return None
    node_id, signature = fields.get("node_id"), fields.get("signature")
    id_ = stored.originator_id
    assert isinstance(id_, UUID)
    if isinstance(node_id, str) and isinstance(signature, str):
        for position in list(positions)[:_MAX_CANDIDATES]:
            digest = provenance.digest(stored.topic, id_, position, fields)
            if provenance.is_signed(node_id, id_, position, digest, signature):
                return position
    return None


def _runs(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of consecutive positions."""
    start = end = None
    for position in positions:
        if end is not None and position != end + 1:
            assert start is not None
            yield start, end
            start = None
        start = position if start is None else start
        end = position
    if start is not None and end is not None:
        yield start, end
