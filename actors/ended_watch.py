"""A warning when so many ended sessions are remembered that opening the log takes long."""

from __future__ import annotations

from keyturn.config.logging import Logger
from keyturn.domain.head import Head

MANY_ENDED = 10_000
"""How many are worth a warning; then twice as many as were warned of are."""


class EndedSessionsWatch:
    """Looks at the heads of one manager. Used in the thread of its actor."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger
        self._warned_of = 0

    def see(self, head: Head) -> None:
        """Warn if this head is the first with so many ended sessions."""
        count = len(head.keys.ended)
        if count < MANY_ENDED:
            self._warned_of = 0
        if count < max(MANY_ENDED, 2 * self._warned_of):
            return
        self._warned_of = count
        self._logger.warning(
            "many ended sessions are remembered",
            ended_sessions=count,
            read_from=head.keys.since,
            advice="set rotate_every: they are forgotten once the keys of their time have ended",
        )
