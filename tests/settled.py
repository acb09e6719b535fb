"""Waiting until a log has told of everything that was committed to it."""

from __future__ import annotations

import time

from keyturn import EventLog

QUIET = 0.1  # seconds


def settled(log: EventLog) -> object:
    """Return what `changes` says once it says the same for a while; a server takes a moment."""
    deadline = time.monotonic() + 30
    while True:
        value = log.changes()
        time.sleep(QUIET)
        if log.changes() == value:
            return value
        assert time.monotonic() < deadline, "the log is never quiet"
