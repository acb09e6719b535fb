"""Keeps a running process from believing a history that is not the one it has seen.

Everything that reads the keys of a manager reads them through here: what was seen once must still
be there, at its place, signed by the same node. An old copy of the log that is put back under a
running process is noticed at the next read, even if the log was empty in between.
"""

from __future__ import annotations

import threading

from keyturn.domain.errors import ForeignLogError, LogRolledBackError
from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import SessionKeys


class HistoryGuard:
    """Loads the keys of one manager. Safe to use from any thread."""

    def __init__(self, log: KeyLog, manager: str, node_id: str) -> None:
        self._log = log
        self._manager = manager
        self._node_id = node_id
        self._lock = threading.Lock()
        self._seen = (0, "")

    def load(self) -> SessionKeys:
        """Return the keys as they are now; blank ones if the log holds none.

        Raises:
            ForeignLogError: another node wrote the newest event.
            LogRolledBackError: what was seen before is no longer there.
            LogError: the log cannot be read, or is damaged.
        """
        seen = self._seen  # before the log is read: meanwhile it may grow, and be noted
        keys = self._log.load(self._manager)
        if keys is None:  # purged; what was seen is remembered all the same
            return SessionKeys.blank(self._manager)
        if keys.node_id != self._node_id:
            raise ForeignLogError(
                f"the log {self._log.location} goes on with events of another node "
                f"({keys.node_id}): somebody else writes to it; put the right log back",
                location=self._log.location,
                expected=self._node_id,
                found=keys.node_id,
            )
        if not self._holds(keys, *seen):
            raise LogRolledBackError(
                f"the log {self._log.location} no longer holds the event at position {seen[0]} "
                "that was there before: an old copy was put back, or its history was purged and "
                "begun anew; put the right log back, and start this service again",
                location=self._log.location,
                expected_position=seen[0],
                found_position=keys.version,
            )
        self.note(keys)
        return keys

    def note(self, keys: SessionKeys) -> None:
        """Remember the newest event that was read or written."""
        with self._lock:
            if keys.version > self._seen[0]:
                self._seen = (keys.version, keys.digest)

    def forget(self) -> None:
        """Take whatever history comes next: a replay begins another one."""
        with self._lock:
            self._seen = (0, "")

    def _holds(self, keys: SessionKeys, position: int, digest: str) -> bool:
        if position == 0:
            return True
        if keys.version == position:
            return keys.digest == digest
        return self._log.digest_at(self._manager, position) == digest
