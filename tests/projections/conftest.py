"""A log over each store, and a hand that writes key events into it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import keyturn
from keyturn import EventLog, KeyRing, SessionKeys
from keyturn.domain.session_keys import Origin


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

    def generate(self, initiator: str = "alice", reason: str | None = None) -> None:
        keys = self.log.load(self._manager) or SessionKeys.blank(self._manager)
        keys.regenerate(secrets.token_bytes(32), self._key_ring, self.by(initiator, reason))
        assert self.log.append(keys)

    def reset(self, initiator: str = "alice", reason: str | None = None) -> None:
        keys = self._load()
        keys.reset(secrets.token_bytes(32), self._key_ring, self.by(initiator, reason))
        assert self.log.append(keys)

    def rotate(self, overlap: int) -> None:
        keys = self._load()
        by = self.by("alice", None)
        keys.rotate(secrets.token_bytes(32), self._key_ring, by, overlap=overlap)
        assert self.log.append(keys)

    def destroy(self) -> None:
        keys = self._load()
        keys.destroy(self._key_ring, self.by("alice", None))
        assert self.log.append(keys)

    def _load(self) -> SessionKeys:
        keys = self.log.load(self._manager)
        assert keys is not None
        return keys


@pytest.fixture
def log(store_url: str) -> Iterator[EventLog]:
    log = keyturn.open_event_log(store_url)
    yield log
    log.close()


@pytest.fixture
def hand(log: EventLog, key_ring: KeyRing) -> Hand:
    hand = Hand(log, key_ring)
    hand.generate()
    return hand
