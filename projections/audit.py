"""The audit: whether the record can be trusted, and where and how not.

Every row is looked at as it lies there, and every head as the service reads it; what is wrong
becomes a finding, never an exception. No password is needed, but the audit must be told whose
record it should be: anybody can sign a log of their own. Where a history ends is known only from
an anchor or a checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from keyturn.domain import chain
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import (
    AnchorError,
    KeyturnError,
    LogUnavailableError,
    NodeIdRequiredError,
)
from keyturn.domain.key_events import KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.mark import Mark
from keyturn.domain.node import decode_node_id
from keyturn.domain.stored_events import check_host_topics
from keyturn.projections.audited_history import History
from keyturn.projections.audited_rows import AuditedRows
from keyturn.projections.findings import AuditReport, FindingKind, HeldAgainst, NodeIdFrom
from keyturn.projections.head_reader import HeadReader

_PROGRESS = 500


class SeenMarks(Protocol):
    """What an audit asks of an anchor."""

    def marks(self) -> Mapping[str, Mark]:
        """Return what was seen of each manager, by its name, or the hex of its id."""


def audit(
    log: KeyLog,
    *,
    node_id: str | None = None,
    any_node: bool = False,
    anchor: SeenMarks | None = None,
    against: Collection[Checkpoint] = (),
    host_topics: Collection[str] = (),
    quick: bool = False,
    progress: Callable[[int], None] = lambda events: None,
    node_id_from: NodeIdFrom = NodeIdFrom.CALLER,
    on_event: Callable[[KeyEvent], None] = lambda event: None,
) -> AuditReport:
    """Look at every row of a log, and say whether the record can be trusted.

    Args:
        log: the log.
        node_id: whose record it should be.
        any_node: take it for the record of the node that signed the first event.
        anchor: remembers where the history of each manager must reach.
        against: checkpoints that the log must contain.
        host_topics: topics of a host that keeps aggregates in the same log.
        quick: check the signatures of the newest events only. Through the chain they vouch for
            all others; that an event's own signature was altered is not found.
        progress: called now and then with the number of events looked at.
        node_id_from: who said the `node_id`, for the report.
        on_event: called with each event that this node signed for the place where it stands, in
            the order of writing: what a history may show beside the findings.

    Returns:
        The verdict, with what was found and what it was held against.

    Raises:
        NodeIdRequiredError: neither `node_id` nor `any_node` was given, or both.
        NodeIdError: `node_id` is not a node id.
        SettingsError: a host topic is Keyturn's own.
        LogUnavailableError: the log cannot be read now.
    """
    if (node_id is None) is not any_node:
        raise NodeIdRequiredError(
            "say whose record it should be: its node id (node_id, --node-id), or any node's "
            "(any_node=True, --any-node), but not both"
        )
    if node_id is not None:
        decode_node_id(node_id)
    host_topics = check_host_topics(host_topics)
    marks: dict[str, Mark] = {}
    damaged_anchor: AnchorError | None = None
    try:
        marks |= {} if anchor is None else anchor.marks()
    except AnchorError as error:
        damaged_anchor = error
    wanted = [(point.manager, point.position) for point in against]
    wanted += [(name, mark.position) for name, mark in marks.items()]
    rows = AuditedRows(node_id, host_topics, wanted, quick=quick, on_event=on_event)
    if damaged_anchor is not None:
        rows.find(FindingKind.ALTERED, None, None, str(damaged_anchor))
    found = log.rows()
    try:
        for row in found:
            rows.look_at(row)
            if rows.events % _PROGRESS == 0:
                progress(rows.events)
    finally:
        found.close()  # or else the traceback of an interrupt would keep it open
    source = None if node_id is None else node_id_from
    report = _Verdict(log, rows, node_id, source, marks, against).report()
    progress(report.events)
    return report


class _Verdict:
    """Holds what the rows say against what others have seen, and what the service reads."""

    def __init__(
        self,
        log: KeyLog,
        rows: AuditedRows,
        expected: str | None,
        expected_by: NodeIdFrom | None,
        marks: Mapping[str, Mark],
        against: Collection[Checkpoint],
    ) -> None:
        self._log = log
        self._rows = rows
        self._expected = expected
        self._expected_by = expected_by
        # Where the anchor had only the hex of an id.
        names = {history.id.hex: name for name, history in rows.histories.items()}
        self._marks = {names.get(name, name): mark for name, mark in marks.items()}
        self._against = against
        self._ends_known: set[str] = set()

    def report(self) -> AuditReport:
        rows = self._rows
        managers = {*rows.histories, *self._marks, *(point.manager for point in self._against)}
        rows.finish(managers)
        for name, mark in self._marks.items():
            self._hold_against_mark(rows.history_of(name), mark)
        for point in self._against:
            self._hold_against_checkpoint(point)
        if rows.node_id is not None:
            for name in sorted(managers):
                self._compare_with_reader(rows.history_of(name), rows.node_id)
        for problem in self._log.schema_problems():
            rows.find(FindingKind.STORE, None, None, problem)
        heads = {
            name: Checkpoint.of(history.event)
            for name, history in rows.histories.items()
            if history.event is not None
        }
        findings = sorted(rows.findings, key=lambda f: (f.manager or "", f.position or 0))
        return AuditReport(
            rows.node_id,
            rows.events,
            heads,
            tuple(findings),
            self._held_against(),
            frozenset(self._ends_known),
            rows.is_quick,
        )

    def _held_against(self) -> HeldAgainst:
        checkpoints: dict[str, tuple[int, ...]] = defaultdict(tuple)
        for point in self._against:
            checkpoints[point.manager] += (point.position,)
        anchor = {name: mark.position for name, mark in self._marks.items()}
        return HeldAgainst(self._expected, anchor, dict(checkpoints), self._expected_by)

    # --- what somebody has seen ---

    def _hold_against_mark(self, history: History, mark: Mark) -> None:
        if not mark.purged or history.purge > mark.position:
            self._look_for(history, mark.position, mark.digest, "the anchor")
            return
        self._ends_known.add(history.manager)
        if history.event is not None:
            place = f"position {mark.position}, says the anchor"
            self._rows.find_put_back(history, history.first, history.count, place)

    def _hold_against_checkpoint(self, point: Checkpoint) -> None:
        position, manager = point.position, point.manager
        if self._rows.node_id not in (None, point.node_id):
            message = f"the checkpoint is of another node, {point.node_id}"
            self._rows.find(FindingKind.FOREIGN, position, manager, message)
            return
        history = self._rows.history_of(manager)
        self._look_for(history, position, point.digest, "the checkpoint")
        event = history.wanted.get(position)
        if event is not None and event.digest == point.digest and event.timestamp != point.at:
            message = f"the checkpoint was altered: this happened at {event.timestamp}"
            self._rows.find(FindingKind.ALTERED, position, manager, message)

    def _look_for(self, history: History, position: int, digest: str, witness: str) -> None:
        """Hold a history against an event that somebody has seen in it."""
        event = history.wanted.get(position)
        is_there = event is not None and event.digest == digest
        accepted_at = None if is_there else history.abandoned_at(position, digest)
        if accepted_at is not None:
            message = (
                f"{witness} has seen an event here that was abandoned, when a rollback was "
                f"accepted at position {accepted_at}: it knows nothing of what came then"
            )
            self._rows.find(FindingKind.ABANDONED, position, history.manager, message)
            return
        self._ends_known.add(history.manager)
        if event is not None and not is_there:
            message = f"{witness} has seen another event here"
            self._rows.find(FindingKind.ALTERED, position, history.manager, message)
        elif position > history.position and not self._rows.is_damaged(history, position):
            message = f"the history ends before position {position}, which {witness} has seen"
            self._rows.find(FindingKind.TRUNCATED, position, history.manager, message)

    # --- what the service reads ---

    def _compare_with_reader(self, history: History, node_id: str) -> None:
        """Read the head of a manager as the service does: it must be the newest genuine row."""
        manager = history.manager
        reader = HeadReader(self._log, manager, node_id, anchor=_ForReader(self._marks))
        try:
            head = reader.open(trust_log=True)
            agrees = (head.position, head.digest) == _place(history.event)
            if not agrees and head.position > history.position > 0:  # it went on meanwhile
                agrees = reader.holds(*_place(history.event))
        except LogUnavailableError:
            raise
        except KeyturnError as error:
            if not self._rows.is_flawed(history):  # else it is known why
                position = getattr(error, "position", None)
                message = f"its rows hold, but a service refuses them: {error}"
                self._rows.find(FindingKind.READER, position, manager, message)
            return
        if not agrees:
            message = (
                f"a service takes position {head.position} for the newest event, but the rows "
                f"end at {history.position}"
            )
            self._rows.find(FindingKind.READER, head.position, manager, message)


class _ForReader:
    """Marks, as a `HeadReader` asks for them."""

    def __init__(self, marks: Mapping[str, Mark]) -> None:
        self._marks = marks

    def read(self, manager: str) -> Mark | None:
        return self._marks.get(manager)

    def peek(self, manager: str) -> int:
        mark = self.read(manager)
        return 0 if mark is None else mark.position


def _place(event: KeyEvent | None) -> tuple[int, str]:
    return (0, chain.NO_DIGEST) if event is None else (event.originator_version, event.digest)
