"""The audit: whether the record can be trusted, and where and how not.

Every row is looked at as it lies there, and every head as the service reads it; what is wrong
becomes a finding, never an exception. No password is needed, but the audit must be told whose
record it should be: anybody can sign a log of their own. Where a history ends is known only from
an anchor or a checkpoint.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Protocol
from uuid import UUID

from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import (
    AnchorError,
    KeyturnError,
    LogUnavailableError,
    NodeIdRequiredError,
)
from keyturn.domain.head import blank_head
from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.key_log import KeyLog
from keyturn.domain.mark import Mark
from keyturn.domain.node import decode_node_id
from keyturn.domain.session_keys import manager_id
from keyturn.domain.stored_events import check_host_topics, uuid_of
from keyturn.projections.audited_rows import AuditedRows, History
from keyturn.projections.findings import AuditReport, FindingKind, HeldAgainst, NodeIdFrom
from keyturn.projections.stream import Stream

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
    rows = AuditedRows(node_id, check_host_topics(host_topics), quick, on_event)
    marks: dict[str, Mark] = {}
    try:
        marks |= {} if anchor is None else anchor.marks()
    except AnchorError as error:
        rows.find(None, FindingKind.ALTERED, None, str(error))
    rows.wanted |= {(manager_id(point.manager), point.position) for point in against}
    rows.wanted |= {(id_, mark.position) for name, mark in marks.items() for id_ in _ids_of(name)}
    with closing(log.rows()) as found:  # or else the traceback of an interrupt keeps it open
        for row in found:
            rows.look_at(row)
            if rows.events % _PROGRESS == 0:
                progress(rows.events)
    histories = _histories(rows, marks, against)
    _judge(log, rows, histories, against)
    checkpoints: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for point in against:
        checkpoints[point.manager] += (point.position,)
    seen = {name: h.mark.position for name, h in histories.items() if h.mark is not None}
    source = None if node_id is None else node_id_from
    progress(rows.events)
    return AuditReport(
        rows.node_id,
        rows.events,
        {name: Checkpoint.of(h.event) for name, h in histories.items() if h.event is not None},
        tuple(sorted(rows.findings, key=lambda f: (f.manager or "", f.position or 0))),
        HeldAgainst(node_id, seen, dict(checkpoints), source),
        frozenset(name for name, history in histories.items() if history.is_end_known),
        quick,
    )


def _histories(
    rows: AuditedRows, marks: Mapping[str, Mark], against: Collection[Checkpoint]
) -> dict[str, History]:
    """Return the history of each manager that the rows, the anchor or a checkpoint know."""
    for name, mark in marks.items():
        ids = _ids_of(name)
        history = rows.history(next((id_ for id_ in ids if id_ in rows.histories), ids[0]))
        history.mark = mark
        history.manager = history.manager or name
    for point in against:
        rows.history(manager_id(point.manager)).manager = point.manager
    return {h.manager: h for h in rows.histories.values() if h.manager is not None}


def _judge(
    log: KeyLog,
    rows: AuditedRows,
    histories: Mapping[str, History],
    against: Collection[Checkpoint],
) -> None:
    """Find what is wrong with whole histories, and with the store."""
    rows.finish()
    for history in histories.values():
        _hold_against_mark(rows, history)
    for point in against:
        _hold_against_checkpoint(rows, histories[point.manager], point)
    if rows.node_id is not None:
        for name in sorted(histories):
            _compare_with_stream(rows, histories[name], Stream(log, name, rows.node_id))
    for problem in log.schema_problems():
        rows.find(None, FindingKind.STORE, None, problem)


def _ids_of(name: str) -> list[UUID]:
    """Return the ids of the streams that an anchor may mean: it may have only the hex of one."""
    id_ = uuid_of(name)
    return [manager_id(name)] if id_ is None else [manager_id(name), id_]


# --- what somebody has seen --------------------------------------------------------------------


def _hold_against_mark(rows: AuditedRows, history: History) -> None:
    mark = history.mark
    if mark is None:
        return
    if not mark.purged or history.purge > mark.position:
        _look_for(rows, history, mark.position, mark.digest, "the anchor")
        return
    history.is_end_known = True
    if history.event is not None:
        place = f"position {mark.position}, says the anchor"
        rows.find_put_back(history, history.first, place)


def _hold_against_checkpoint(rows: AuditedRows, history: History, point: Checkpoint) -> None:
    position = point.position
    if rows.node_id not in (None, point.node_id):
        message = f"the checkpoint is of another node, {point.node_id}"
        rows.find(history, FindingKind.FOREIGN, position, message)
        return
    _look_for(rows, history, position, point.digest, "the checkpoint")
    event = history.wanted.get(position)
    if event is not None and event.digest == point.digest and event.timestamp != point.at:
        message = f"the checkpoint was altered: this happened at {event.timestamp}"
        rows.find(history, FindingKind.ALTERED, position, message)


def _look_for(
    rows: AuditedRows, history: History, position: int, digest: str, witness: str
) -> None:
    """Hold a history against an event that somebody has seen in it."""
    event = history.wanted.get(position)
    is_there = event is not None and event.digest == digest
    accepted_at = history.rollbacks.get(Abandoned(position, digest))
    if accepted_at is not None and not is_there:
        message = (
            f"{witness} has seen an event here that was abandoned, when a rollback was "
            f"accepted at position {accepted_at}: it knows nothing of what came then"
        )
        rows.find(history, FindingKind.ABANDONED, position, message)
        return
    history.is_end_known = True
    if event is not None and not is_there:
        rows.find(
            history, FindingKind.ALTERED, position, f"{witness} has seen another event here"
        )
    elif position > history.position and position not in history.damaged:
        message = f"the history ends before position {position}, which {witness} has seen"
        rows.find(history, FindingKind.TRUNCATED, position, message)


# --- what the service reads --------------------------------------------------------------------


def _compare_with_stream(rows: AuditedRows, history: History, stream: Stream) -> None:
    """Read the head of a manager as the service does: it must be the newest genuine row."""
    assert history.manager is not None
    event, position = history.event, None
    try:
        head, _ = stream.newer(blank_head(history.manager))
        if history.mark is not None:
            head, _ = stream.reaching(head, history.mark)
        if event is None:
            agrees = head.position == 0
        else:  # the log may have gone on meanwhile
            agrees = stream.contains(head, Mark(history.position, event.digest, event.signature))
        position = head.position
        message = (
            f"a service takes position {position} for the newest event, but the rows end at "
            f"{history.position}"
        )
    except LogUnavailableError:
        raise
    except KeyturnError as error:
        agrees, position = False, getattr(error, "position", None)
        message = f"its rows hold, but a service refuses them: {error}"
    if not agrees and not history.is_flawed:  # else it is known why
        rows.find(history, FindingKind.READER, position, message)
