"""Wrote `tests/old_logs/v2.jsonl`, once: `python -m tests.domain.make_old_log > v2.jsonl`.

It is here for the next version of the schema, which needs a log of its own. A log that was
released is never made anew: see `test_old_logs`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.memory import MemoryStore
from keyturn.domain.key_events import Abandoned
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.projections.export import export_lines

KEY_RING = KeyRing(bytes(32), bytes(range(32)))
START = datetime(2026, 11, 1, 12, 0, 0, 250_000, UTC)


def origin(minutes: int, reason: str | None = None) -> Origin:
    at = START + timedelta(minutes=minutes)
    return Origin("alice@laptop", reason, at, recorded_by="deploy@web-1")


def secret(number: int) -> bytes:
    return bytes([number]) * 32


def make_log() -> EventLog:
    """Every kind of event with every field, and a history that begins with a purge."""
    keys, ring = SessionKeys.blank("default"), KEY_RING
    keys.regenerate(secret(1), ring, origin(0))
    keys.end_session("sid-one", ring, origin(1, "logout"), subject="alice")
    keys.end_sessions("bob", ring, origin(2, "password changed – «naïve» 密钥"), keep="sid-kept")
    keys.rotate(secret(2), ring, origin(3, "monthly"), overlap=3600)
    keys.end_sessions("bob", ring, origin(4))
    keys.end_session("sid-two", ring, origin(5, "\u202eend\0\n"))
    keys.rotate(secret(3), ring, origin(6, "again"), overlap=0)
    keys.reset(secret(4), ring, origin(7, "rollback accepted"), abandoned=Abandoned(9, "9" * 64))
    keys.end_session("sid-three", ring, origin(8))
    keys.destroy(ring, origin(9, "the end"))
    keys.regenerate(secret(5), ring, origin(10, "back again"), abandoned=Abandoned(12, "c" * 64))
    keys.end_session("sid-four", ring, origin(11, "logout"), subject="alice")
    keys.rotate(secret(6), ring, origin(12), overlap=60)
    keys.end_sessions("carol", ring, origin(13), keep="sid-kept")
    purged = SessionKeys.blank("purged")
    purged.regenerate(secret(1), ring, origin(0))
    log = EventLog(MemoryStore, "memory:")
    assert log.append(keys)
    assert log.append(purged)
    purged.destroy(ring, origin(1, "for good"), purge=True)
    assert log.purge(purged)
    purged.regenerate(secret(2), ring, origin(2))
    assert log.append(purged)
    return log


if __name__ == "__main__":
    for line in export_lines(make_log().rows(), KEY_RING.node_id):
        sys.stdout.buffer.write(line)
