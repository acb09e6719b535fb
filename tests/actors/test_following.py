"""The actor follows what other processes write, and holds up nobody for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent

import keyturn
from keyturn import KeyRing
from keyturn.actors.asking import ask
from keyturn.actors.messages import SetupKey
from keyturn.actors.session_manager import SessionManager
from keyturn.config.memory import MemoryStore
from tests.projections.conftest import Hand


def test_g8_a_reply_does_not_wait_until_other_processes_write_no_more(
    key_ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = keyturn.open_event_log("memory:")
    manager = SessionManager.start(log, key_ring, ticker=None)
    other, select = Hand(log, key_ring), MemoryStore.select_events
    is_quiet, is_writing = threading.Event(), threading.Lock()

    def with_a_write_after(*args: Any, **kwargs: Any) -> Sequence[StoredEvent]:
        rows = select(*args, **kwargs)
        if not is_quiet.is_set() and is_writing.acquire(blocking=False):
            try:
                other.end_session("a session")
            finally:
                is_writing.release()
        return rows

    other.end_session("a session")
    monkeypatch.setattr(MemoryStore, "select_events", with_a_write_after)
    try:
        ask(manager, SetupKey(), timeout=5)
    finally:
        is_quiet.set()
        manager.stop()
        log.close()
