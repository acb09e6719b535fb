"""The state at the head of a log, for tests that look at it or write what comes next."""

from __future__ import annotations

from keyturn.domain.key_log import KeyLog
from keyturn.domain.session_keys import SessionKeys
from keyturn.projections.head_reader import HeadReader


def keys_at_head(log: KeyLog, manager: str = "default") -> SessionKeys | None:
    """Return the keys of a manager as the newest event leaves them; None without an event."""
    node_id = log.owner()  # type: ignore[attr-defined]
    if node_id is None:
        return None
    head = HeadReader(log, manager, node_id).get()
    return head.keys.draft() if head.position else None
