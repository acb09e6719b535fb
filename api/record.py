"""The record of one manager's keys, as a service shows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime

from keyturn.config.anchor import Anchor
from keyturn.config.event_log import EventLog
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import CheckpointError
from keyturn.projections.audit import audit
from keyturn.projections.findings import AuditReport, NodeIdFrom
from keyturn.projections.history import EVERYTHING, HistoryFilter, KeyChange, RotationHistory


class Record:
    """What is written of the keys of one manager, and whether it can be trusted.

    Args:
        log: where.
        name: of the manager.
        node_id: of the node whose key ring signs the log.
        anchor: what this node has seen of the log; None: nothing that is kept.
    """

    def __init__(self, log: EventLog, name: str, node_id: str, anchor: Anchor | None) -> None:
        self._log = log
        self._name = name
        self._node_id = node_id
        self._anchor = anchor

    @property
    def log(self) -> EventLog:
        """The log: an eventsourcing application, where a host may keep aggregates too."""
        return self._log

    @property
    def node_id(self) -> str:
        """The id of the node whose key ring signs the log."""
        return self._node_id

    def history(
        self,
        which: HistoryFilter = EVERYTHING,
        *,
        newest_first: bool = False,
        after: int | None = None,
        limit: int | None = None,
        at: datetime | None = None,
    ) -> Iterator[KeyChange]:
        """Yield the changes of keys and the ends of sessions, oldest first unless told otherwise.

        Args:
            which: those to show.
            newest_first: the other way round.
            after: the position of the last row of the page before.
            limit: how many rows at the most.
            at: only the change whose key was current at this moment (an aware datetime); the
                rest does not count.

        Raises:
            FilterError: a moment without a time zone, a negative limit.
        """
        if at is not None:
            change = self.key_at(at)
            return iter(() if change is None else (change,))
        history = RotationHistory(self.log, self._name)
        return history.changes(which, newest_first=newest_first, after=after, limit=limit)

    def key_at(self, moment: datetime) -> KeyChange | None:
        """Return the change whose key was current at a moment, None if none was."""
        return RotationHistory(self.log, self._name).at(moment)

    def audit(
        self,
        against: Checkpoint | str | Collection[Checkpoint | str] = (),
        *,
        quick: bool = False,
        progress: Callable[[int], None] = lambda events: None,
    ) -> AuditReport:
        """Look at every event of the log, and say whether the record can be trusted.

        Args:
            against: checkpoints, or their lines, that the log must contain; or one of them.
            quick: check the signatures of the newest events only; they vouch for the others.
            progress: called now and then with the number of events looked at.

        Returns:
            The verdict, with what was found and what it was held against.

        Raises:
            CheckpointError: a line is not a checkpoint.
            LogError: the log cannot be read.
        """
        points = [against] if isinstance(against, Checkpoint | str) else against
        return audit(
            self.log,
            node_id=self.node_id,
            anchor=self._anchor,
            against=[p if isinstance(p, Checkpoint) else Checkpoint.parse(p) for p in points],
            host_topics=self.log.host_topics,
            quick=quick,
            progress=progress,
            node_id_from=NodeIdFrom.KEY_RING,
        )

    def checkpoint(self) -> Checkpoint:
        """Return where the history stands now: a line to keep somewhere else.

        Raises:
            CheckpointError: the history has no event: it was purged.
        """
        event = next(self.log.key_events(self._name, newest_first=True, page=1), None)
        if event is None:
            raise CheckpointError(f"manager {self._name!r} has no history to keep a line of")
        return Checkpoint.of(event)
