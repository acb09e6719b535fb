"""Every change of the keys of a manager: load, command, append; on a conflict once more.

The log decides who was first. Whoever comes second decides anew on the new head, so several
processes never fork the history.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Sequence
from copy import copy

from eventsourcing.domain import Aggregate

from keyturn.actors.lifecycle import Lifecycle
from keyturn.config.anchor import Anchor, Mark
from keyturn.config.clock import Clock, time_of_event
from keyturn.config.logging import Logger
from keyturn.domain import rotation
from keyturn.domain.errors import (
    AnchorError,
    LogConflictError,
    LogError,
    LogRolledBackError,
    TransactionConflictError,
)
from keyturn.domain.history_guard import HistoryGuard
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KEY_BYTES, KeyRingLike
from keyturn.domain.limits import check_name
from keyturn.domain.rotation import KeyAge, RotationPolicy
from keyturn.domain.session_keys import Origin, SessionKeys

MAX_ATTEMPTS = 50


def new_secret() -> bytes:
    """Return the secret of a new session key."""
    return secrets.token_bytes(KEY_BYTES)


class KeyWriter:
    """Writes the key events of one manager. Safe to use from any thread.

    `on_change` is called after each change, in the thread that made it.
    """

    def __init__(
        self,
        log: KeyLog,
        guard: HistoryGuard,
        key_ring: KeyRingLike,
        manager: str,
        lifecycle: Lifecycle,
        *,
        on_change: Callable[[], None],
        anchor: Anchor | None,
        initiator: str,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._log = log
        self._guard = guard
        self._key_ring = key_ring
        self._manager = check_name(manager)
        self._lifecycle = lifecycle
        self._on_change = on_change
        self._anchor = anchor
        self._initiator = initiator
        self._clock = clock
        self._logger = logger
        self._head: tuple[object, SessionKeys] = (object(), SessionKeys.blank(manager))

    def by(self, initiator: str | None, reason: str | None) -> Origin:
        """Return the origin of a change; without an initiator it is the manager's own."""
        initiator = self._initiator if initiator is None else initiator
        return Origin(initiator, reason, time_of_event(self._clock))

    def begin(
        self, *, fresh: bool = False, accept_rollback: bool = False, is_first: bool = True
    ) -> SessionKeys:
        """Make sure that the log is the right one and that there is a current key; return it.

        Only a first start makes new keys where they were destroyed: a manager that runs on after
        a stop or a crash has none to go on with then.

        Raises:
            ForeignLogError: the log is another key ring's.
            LogRolledBackError, AnchorError: it is not what this node has seen; with
                `accept_rollback` the key is reset instead.
            LogDamagedError: its newest event is not genuine.
            SessionManagerDestroyedError: the keys were destroyed, and this is no first start.
        """
        self._log.check_owner(self._key_ring.node_id)
        seen, problem = self._compare_with_anchor()
        if problem is not None and not accept_rollback:
            raise problem

        def change(keys: SessionKeys) -> None:
            reason = None if problem is None else f"roll-back accepted: {problem.args[0]}"[:1000]
            if keys.is_destroyed and is_first:
                keys.regenerate(new_secret(), self._key_ring, self.by(None, reason))
            elif problem is not None:
                keys.reset(new_secret(), self._key_ring, self.by(None, reason))
            elif fresh or keys.is_destroyed:  # which a reset refuses
                keys.reset(new_secret(), self._key_ring, self.by(None, "fresh start"))

        was_purged = seen is not None and seen.purged
        keys = self._write(change, replace_anchor=was_purged or problem is not None)
        if seen is None or seen.position != keys.version:
            self._move_anchor(keys)
        return keys

    def reset(self, reason: str | None = None, initiator: str | None = None) -> None:
        """Make a new key and end all others: see `ResetKey`."""
        # The time is that of the attempt: after a conflict an earlier one would seem to be
        # that of a clock that was set back.
        self._change(
            lambda keys: keys.reset(new_secret(), self._key_ring, self.by(initiator, reason))
        )

    def rotate(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """Make a new key and let the one before end later: see `RotateKey`."""
        self._change(
            lambda keys: keys.rotate(
                new_secret(), self._key_ring, self.by(initiator, reason), overlap=overlap
            )
        )

    def rotate_if_due(self, policy: RotationPolicy, age: KeyAge) -> None:
        """Rotate the key if it is as old as the policy says, by the log.

        Of several processes that find it due one writes; the others find a new key then.
        """

        def change(keys: SessionKeys) -> None:
            age.see(keys)
            if age.seconds() >= policy.every:
                by = self.by(rotation.INITIATOR, policy.reason)
                keys.rotate(new_secret(), self._key_ring, by, overlap=policy.overlap)

        self._change(change)

    def destroy(self) -> None:
        """End all keys."""

        def change(keys: SessionKeys) -> None:
            if not keys.is_destroyed:
                keys.destroy(self._key_ring, self.by(None, None))

        self._write(change)

    def purge(self) -> None:
        """Remove the rows of a manager whose keys were destroyed, and not begun anew since.

        The anchor remembers that, so that an old copy with the keys in it is not taken for new.
        """
        keys = self.load()
        if not keys.is_destroyed:
            return
        if (
            self._anchor is not None and keys.version > 0
        ):  # first: else an empty log is a rollback
            mark = Mark(keys.version, keys.digest, keys.signature, purged=True)
            self._anchor.replace(self._manager, mark)
        self._log.purge(self._manager)

    def load(self) -> SessionKeys:
        """Return the keys as they are now; blank ones if the log holds none."""
        changes = self._log.changes()
        keys = self._guard.load()
        self._head = (changes, keys)
        return copy(keys)

    def forget_history(self) -> None:
        """Take whatever history comes next: a replay begins another one."""
        self._guard.forget()
        self._head = (object(), SessionKeys.blank(self._manager))

    def _head_or_load(self) -> SessionKeys:
        """Return the keys as we wrote them last, if nobody wrote since.

        Should that be wrong by a hair's breadth, the append conflicts, and they are loaded.
        """
        changes, keys = self._head
        return copy(keys) if self._log.changes() == changes else self.load()

    def commit(self, keys: SessionKeys, others: list[Aggregate]) -> None:
        """Write what a transaction collected, all or nothing.

        Raises:
            TransactionConflictError: the log moved since the transaction began.
        """
        base = keys.version - len(keys.pending_events)
        with self._lifecycle.lock:
            committed = self.load().version == base and self._log.append(keys, *others)
        if not committed:
            raise TransactionConflictError(
                f"the log {self._log.location} moved while the transaction was open: nothing "
                "was written; run it again",
                location=self._log.location,
            )
        self._guard.note(keys)
        self._move_anchor(keys)

    def note_head(self) -> SessionKeys:
        """Move the anchor to where the log ends now, whoever wrote it; return the keys there."""
        with self._lifecycle.lock:
            keys = self.load()  # what is at hand may be a hair's breadth behind
            self._move_anchor(keys)
        return keys

    def _change(self, change: Callable[[SessionKeys], None]) -> None:
        with self._lifecycle.lock:
            self._lifecycle.require_running()
            self._write(change)
        self._on_change()

    def _write(
        self,
        change: Callable[[SessionKeys], None],
        *,
        replace_anchor: bool = False,
    ) -> SessionKeys:
        for attempt in range(MAX_ATTEMPTS):
            # Who was too late once decides the next time with the others locked out.
            with self._log.alone() if attempt else contextlib.nullcontext():
                keys = self.load() if attempt else self._head_or_load()
                change(keys)
                events = list(keys.pending_events)
                if not events:
                    return keys
                is_written = self._log.append(keys)
            if is_written:
                self._follow_up(keys, events, replace_anchor=replace_anchor)
                return keys
            time.sleep(random.uniform(0, 0.001 * min(attempt + 1, 20)))  # noqa: S311
        raise LogConflictError(
            f"other writers of the log {self._log.location} were faster {MAX_ATTEMPTS} times in "
            "a row: try again when it is quieter",
            location=self._log.location,
        )

    def _follow_up(
        self, keys: SessionKeys, events: Sequence[object], *, replace_anchor: bool
    ) -> None:
        """Do what follows from a change. It is recorded by now: nothing here makes it fail."""
        self._guard.note(keys)
        with contextlib.suppress(LogError):  # whoever uses the log next is told
            self._head = (self._log.changes(), keys)
        self._move_anchor(keys, anywhere=replace_anchor)
        with contextlib.suppress(Exception):  # a host's logger may be broken
            for event in events:
                self._logger.info(
                    "session key changed",
                    manager=self._manager,
                    kind=event.kind,  # type: ignore[attr-defined]
                    generation=keys.generation,
                    kid=keys.key_id,
                    position=keys.version,
                )

    def _compare_with_anchor(
        self,
    ) -> tuple[Mark | None, LogRolledBackError | AnchorError | None]:
        """Return what the anchor has seen, and what is wrong with the log by that, or None."""
        if self._anchor is None:
            return None, None
        deadline = time.monotonic() + 1.0
        while True:
            try:
                seen = self._anchor.read(self._manager)
            except AnchorError as error:
                return None, error
            found = self.load().version
            if seen is None or (seen.purged and found == 0):
                return seen, None
            digest = self._log.digest_at(self._manager, seen.position)
            if digest == seen.digest:
                return seen, None
            # Another process may be beginning anew after a purge: log first, anchor at once.
            if not seen.purged or time.monotonic() > deadline:
                return seen, self._rolled_back(seen, found, digest)
            time.sleep(0.01)

    def _rolled_back(self, seen: Mark, found: int, digest: str | None) -> LogRolledBackError:
        what = (
            f"ends at position {found}"
            if digest is None
            else f"holds another event at position {seen.position}"
        )
        return LogRolledBackError(
            f"the log {self._log.location} of manager {self._manager!r} {what}, but this node "
            f"has seen position {seen.position} (digest {seen.digest[:16]}…): an old copy was "
            "put back, and revoked tokens would come back to life; put the right log back, or "
            "accept this one with accept_rollback=True (--accept-rollback), which resets the key",
            location=self._log.location,
            expected_position=seen.position,
            found_position=found,
        )

    def _move_anchor(self, keys: SessionKeys, *, anywhere: bool = False) -> None:
        """The change is in the log by now, so a failure here is no failure of the change."""
        if self._anchor is None or keys.version == 0:
            return
        move = self._anchor.replace if anywhere else self._anchor.advance
        try:
            move(self._manager, Mark(keys.version, keys.digest, keys.signature))
        except AnchorError as error:
            self._logger.warning("the anchor could not be moved", detail=str(error))
