"""The part of the session manager that only reads: tokens and history, by messages."""

from __future__ import annotations

from datetime import datetime

from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.supervision import SupervisedActor
from keyturn.actors.token_methods import TokenMethods
from keyturn.projections.history import (
    EVERYTHING,
    HistoryFilter,
    KeyChange,
    RotationHistory,
)


class ReadingActor(TokenMethods, SupervisedActor):
    """Answers what needs no change of the log, on the current head or in a transaction.

    Args:
        parts: what the manager is made of.
    """

    def __init__(self, parts: ManagerParts) -> None:
        TokenMethods.__init__(self, parts)
        SupervisedActor.__init__(self, parts.logger)

    def read_history(
        self,
        which: HistoryFilter = EVERYTHING,
        newest_first: bool = False,
        after: int | None = None,
        limit: int = 100,
        at: datetime | None = None,
    ) -> tuple[KeyChange, ...]:
        """See `ReadHistory`."""
        history = RotationHistory(self._parts.log, self._parts.name)
        if at is not None:
            change = history.at(at)
            return () if change is None else (change,)
        return tuple(history.changes(which, newest_first=newest_first, after=after, limit=limit))
