"""The record of one manager's keys, as a service shows it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from keyturn.actors.manager_parts import ManagerParts
from keyturn.config.event_log import EventLog
from keyturn.domain.checkpoint import Checkpoint
from keyturn.domain.errors import CheckpointError
from keyturn.projections.history import EVERYTHING, HistoryFilter, KeyChange, RotationHistory

if TYPE_CHECKING:
    from keyturn.projections.findings import AuditReport


class Record:
    """What is written of the keys of one manager, and whether it can be trusted."""

    parts: ManagerParts

    @property
    @abstractmethod
    def log(self) -> EventLog:
        """The log: an eventsourcing application, where a host may keep aggregates too."""

    @property
    def node_id(self) -> str:
        """The id of the node whose key ring signs the log."""
        return self.parts.key_ring.node_id

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
        history = RotationHistory(self.log, self.parts.name)
        return history.changes(which, newest_first=newest_first, after=after, limit=limit, at=at)

    def key_at(self, moment: datetime) -> KeyChange | None:
        """Return the change whose key was current at a moment, None if none was."""
        return RotationHistory(self.log, self.parts.name).at(moment)

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
        from keyturn.projections.audit import audit  # a host rarely needs it
        from keyturn.projections.findings import NodeIdFrom

        points = [against] if isinstance(against, Checkpoint | str) else against
        return audit(
            self.log,
            node_id=self.node_id,
            anchor=self.parts.anchor,
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
        name = self.parts.name
        event = next(self.log.key_events(name, newest_first=True, page=1), None)
        if event is None:
            raise CheckpointError(f"manager {name!r} has no history to keep a line of")
        return Checkpoint.of(event)
