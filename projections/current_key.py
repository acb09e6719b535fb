"""The current key: what minting and checking a token needs, and never stale.

A snapshot of the newest event, swapped whole. Before each use the log is asked whether anybody
has committed since; only then is the newest event read again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from keyturn.domain.errors import LogUnavailableError, StaleKeyError
from keyturn.domain.history_guard import HistoryGuard
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike, unseal_key
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.tokens import KeySet, SessionKey, SigningKey


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The keys at one position of the log, and the digest of the event there.

    Position 0 is a log without events.
    """

    keys: KeySet
    position: int
    digest: str


_NOTHING = Snapshot(KeySet(None, {}), 0, "")


class CurrentKey:
    """The current key of one manager. Safe to use from any thread.

    `on_change` is called, in whatever thread found it out, when a newer event was read. `guard`
    is what the manager loads keys through, so that what one part has seen all have seen.
    """

    def __init__(
        self,
        log: KeyLog,
        key_ring: KeyRingLike,
        manager: str,
        on_change: Callable[[], None] = lambda: None,
        guard: HistoryGuard | None = None,
    ) -> None:
        self._log = log
        self._key_ring = key_ring
        self._manager = manager
        self._on_change = on_change
        self._guard = guard or HistoryGuard(log, manager, key_ring.node_id)
        self._lock = threading.Lock()
        self._read_began = float("-inf")
        self._why_not: str | None = None
        self._state: tuple[object, Snapshot] = (object(), _NOTHING)

    def get(self) -> Snapshot:
        """Return the snapshot of this moment.

        Raises:
            StaleKeyError: the log must be read for it, and cannot be.
            LogError: it is not to be trusted.
        """
        seen, snapshot = self._state
        if self._log.changes() == seen:
            return snapshot
        return self._refresh()

    def peek(self) -> Snapshot | None:
        """Return what `get` returns if that needs no reading, else None. Never waits."""
        seen, snapshot = self._state
        return snapshot if self._log.changes() == seen else None

    def forget(self) -> None:
        """Read the log anew before the next use."""
        self._state = (object(), self._state[1])

    def _refresh(self) -> Snapshot:
        """Read the log; of several threads that need it at once, one for all."""
        needed_at = time.monotonic()
        # While it cannot be read one thread tries, and the others do not wait for that.
        if not self._lock.acquire(blocking=self._why_not is None):
            raise self._stale(self._why_not)
        try:
            old = self._state[1]
            if self._read_began <= needed_at:
                self._read()
            elif self._why_not is not None:
                raise self._stale(self._why_not)
            snapshot = self._state[1]
        finally:
            self._lock.release()
        if snapshot is not old:
            self._on_change()
        return snapshot

    def _read(self) -> None:
        began, why_not = time.monotonic(), None
        try:
            # Asked before reading: what is committed meanwhile is then read again next time.
            seen = self._log.changes()
            last_seen, old = self._state
            if seen != last_seen:
                keys = self._guard.load()
                snapshot = old if keys.digest == old.digest else self.snapshot_of(keys)
                self._state = (seen, snapshot)
            self._read_began = began
        except LogUnavailableError as error:
            self._read_began, why_not = began, str(error)
            raise self._stale(why_not) from error
        finally:
            self._why_not = why_not  # of another error nobody gets a share

    def _stale(self, why: str | None) -> StaleKeyError:
        message = "no token is made or checked while the keys may be out of date"
        return StaleKeyError(f"{message}: {why}", location=self._log.location)

    def snapshot_of(self, keys: SessionKeys) -> Snapshot:
        """Return the snapshot of keys at rest: the current one and those in overlap, unsealed."""
        if keys.sealed_key is None:
            return Snapshot(KeySet(None, {}), keys.version, keys.digest)
        current = self._signing_key(keys.sealed_key, keys.generation, keys.key_id)
        accepted: dict[str, tuple[SigningKey, float | None]] = {
            key.header: (key, retiring.good_until.timestamp())
            for retiring in keys.retiring
            for key in [
                self._signing_key(retiring.sealed_key, retiring.generation, retiring.key_id)
            ]
        }
        accepted[current.header] = (current, None)
        return Snapshot(KeySet(current, accepted), keys.version, keys.digest)

    def _signing_key(self, sealed_key: str, generation: int, key_id: str) -> SigningKey:
        for key, _ in self._state[1].keys.accepted.values():
            if key.key_id == key_id:
                return key  # unsealed before: a key ring may be far away
        secret = unseal_key(self._key_ring, sealed_key, self._manager, generation, key_id)
        return SigningKey(SessionKey(generation, key_id, secret))
