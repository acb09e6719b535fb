"""A log, and a hand that writes key events into it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import keyturn
from keyturn import EventLog, KeyRing, SessionKeys
from keyturn.domain.key_events import Abandoned
from keyturn.domain.session_keys import Origin
from keyturn.projections.head_reader import HeadReader


class Hand:
    """Writes the events of one manager, an hour apart."""

    def __init__(self, log: EventLog, key_ring: KeyRing, manager: str = "default") -> None:
        self.log = log
        self._key_ring = key_ring
        self._manager = manager
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def by(self, initiator: str, reason: str | None) -> Origin:
        self.now += timedelta(hours=1)
        return Origin(initiator, reason, self.now)

    def generate(
        self,
        initiator: str = "alice",
        reason: str | None = None,
        abandoned: Abandoned | None = None,
    ) -> None:
        keys, secret = self.keys(), secrets.token_bytes(32)
        keys.regenerate(secret, self._key_ring, self.by(initiator, reason), abandoned=abandoned)
        assert self.log.append(keys)

    def reset(
        self,
        initiator: str = "alice",
        reason: str | None = None,
        abandoned: Abandoned | None = None,
    ) -> None:
        keys, secret = self.keys(), secrets.token_bytes(32)
        keys.reset(secret, self._key_ring, self.by(initiator, reason), abandoned=abandoned)
        assert self.log.append(keys)

    def rotate(self, overlap: int) -> None:
        keys = self.keys()
        by = self.by("alice", None)
        keys.rotate(secrets.token_bytes(32), self._key_ring, by, overlap=overlap)
        assert self.log.append(keys)

    def end_session(self, sid: str, subject: str | None = None) -> None:
        keys = self.keys()
        keys.end_session(sid, self._key_ring, self.by("alice", "logout"), subject=subject)
        assert self.log.append(keys)

    def end_sessions(self, subject: str, keep: str | None = None) -> None:
        keys = self.keys()
        keys.end_sessions(subject, self._key_ring, self.by("alice", None), keep=keep)
        assert self.log.append(keys)

    def destroy(self) -> None:
        keys = self.keys()
        keys.destroy(self._key_ring, self.by("alice", None))
        assert self.log.append(keys)

    def purge(self) -> None:
        keys = self.keys()
        keys.destroy(self._key_ring, self.by("alice", None), purge=True)
        assert self.log.purge(keys)

    def keys(self) -> SessionKeys:
        return HeadReader(self.log, self._manager, self._key_ring.node_id).get().keys.draft()


@pytest.fixture
def log() -> Iterator[EventLog]:
    """A log in memory: that each store reads and writes alike is for the tests of the stores."""
    log = keyturn.open_event_log("memory:")
    yield log
    log.close()


@pytest.fixture
def hand(log: EventLog, key_ring: KeyRing) -> Hand:
    hand = Hand(log, key_ring)
    hand.generate()
    return hand
