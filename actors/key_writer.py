"""Every change of a manager's stream: read the head, command, append; on a conflict once more.

Only the manager's actor writes, in its own thread. The log decides which process was first; who
comes second decides anew on the new head, so the history never forks. A change counts once it
was read back.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence

from eventsourcing.domain import Aggregate

from keyturn.actors.manager_parts import ManagerParts
from keyturn.config.anchor import Anchor
from keyturn.config.clock import time_of_event
from keyturn.domain import chain
from keyturn.domain.errors import (
    AnchorError,
    KeyturnError,
    LogConflictError,
    LogError,
    LogRolledBackError,
    LogUnavailableError,
    TransactionConflictError,
)
from keyturn.domain.head import Head
from keyturn.domain.key_events import Abandoned, KeyEvent
from keyturn.domain.key_ring import KEY_BYTES
from keyturn.domain.manager_state import manager_not_found
from keyturn.domain.mark import Mark
from keyturn.domain.secret import Secret
from keyturn.domain.session_keys import Origin, SessionKeys, manager_id

MAX_ATTEMPTS = 50

Command = Callable[[SessionKeys], None]
"""Changes a draft of the keys, or leaves it as it is. Called anew after a conflict."""


def new_secret() -> Secret[bytes]:
    """Return the secret of a new session key."""
    return Secret(secrets.token_bytes(KEY_BYTES))


class KeyWriter:
    """Writes the events of one manager, in the thread of its actor."""

    def __init__(self, parts: ManagerParts) -> None:
        self._log = parts.log
        self._reader = parts.reader
        self._key_ring = parts.key_ring
        self._name = parts.name
        self._anchor = parts.anchor
        self._anchored: Head | None = None
        self._activity = parts.activity
        self._clock = parts.clock
        self._logger = parts.logger
        self._recorded_by = user_at_host()
        self._initiator = parts.options.initiator or self._recorded_by

    def by(self, initiator: str | None, reason: str | None) -> Origin:
        """Return the origin of a change; without an initiator it is the manager's own."""
        return Origin(
            self._initiator if initiator is None else initiator,
            reason,
            time_of_event(self._clock),
            self._recorded_by,
        )

    # --- the start ---

    def begin(
        self,
        *,
        fresh: bool = False,
        accept_rollback: bool = False,
        trust_log: bool = False,
        may_generate: bool = True,
    ) -> None:
        """Make sure that the log is the right one and that there is a current key.

        Args:
            fresh: reset the key.
            accept_rollback: take a log that is not the one seen before, and reset the key.
            trust_log: take a log that was never seen before.
            may_generate: make new keys if there are none or they were destroyed. A manager that
                runs on after a stop or a crash has none to go on with then.

        Raises:
            ForeignLogError: the log is another key ring's.
            LogRolledBackError, LogNotTrustedError, AnchorError: it is not what was seen.
            LogDamagedError: an event is not genuine.
            ManagerNotFoundError: there is no manager of this name, and none may be made.
            SessionManagerDestroyedError: the keys were destroyed, and none may be made.
        """
        self._log.check_owner(self._key_ring.node_id)
        seen: Mark | None = None
        problem: LogRolledBackError | AnchorError | None = None
        try:
            seen = None if self._anchor is None else self._anchor.read(self._name)
            head = self._reader.open(trust_log=trust_log)
        except (LogRolledBackError, AnchorError) as error:
            if not accept_rollback:
                raise
            problem = error
            head = self._reader.open(accept_rollback=True)
        if head.position == 0 and not may_generate:
            raise manager_not_found(self._name, self._log.location, self._log.managers())
        if self._anchor is not None and seen is None and head.position == 0:
            self._expect_beginning(self._anchor)
        abandoned = None
        if problem is not None and seen is not None and seen.position > 0:
            abandoned = Abandoned(seen.position, seen.digest)
        reason = "fresh start" if fresh else None
        if problem is not None:
            reason = "accepted a log that was rolled back"
        elif seen is not None and seen.imported:
            reason = "first start after an import"

        def change(keys: SessionKeys) -> None:
            if keys.is_destroyed and may_generate:
                new_key = keys.regenerate
            elif reason is not None or keys.is_destroyed:  # which a reset refuses
                new_key = keys.reset
            else:
                return
            new_key(new_secret(), self._key_ring, self.by(None, reason), abandoned=abandoned)

        # The anchor still has what was given up: the writes below must not be held against it.
        gives_up = problem is not None or (seen is not None and seen.position > head.position)
        with self._reader.regardless_of_anchor() if gives_up else contextlib.nullcontext():
            self.write(change)
            is_other = gives_up or (seen is not None and (seen.purged or seen.imported))
            self.move_anchor(self._reader.known, anywhere=is_other)

    def _expect_beginning(self, anchor: Anchor) -> None:
        """Note that a history begins here, before it does.

        Or else a process that is killed between its first event and its first mark would leave
        a log that nobody here has seen.
        """
        id_ = manager_id(self._name)
        signature = chain.sign(self._key_ring, id_, 0, chain.NO_DIGEST)
        try:
            anchor.advance(self._name, Mark(0, chain.NO_DIGEST, signature))
        except AnchorError as error:
            self._logger.warning("the anchor could not be made", detail=str(error))

    # --- changes ---

    def write(self, command: Command, *, purge: bool = False) -> None:
        """Carry out a command on the newest head; the head includes it then.

        Args:
            command: makes the events.
            purge: remove all earlier events of the stream in the same commit.

        Raises:
            LogUnavailableError: it cannot be written; `recorded` says what became of it.
            LogConflictError: other writers were faster, many times in a row.
            KeyturnError: what the command raised; nothing was written.
        """
        append = self._log.purge if purge else self._log.append
        for attempt in range(MAX_ATTEMPTS):
            self._activity.retries += attempt > 0
            # Who was too late once decides the next time with the others locked out.
            with self._log.exclusive() if attempt else contextlib.nullcontext():
                head = self._reader.read() if attempt else self._reader.get()
                keys = head.keys.draft()
                command(keys)
                events = list(keys.pending_events)
                is_written = not events or append(keys)
            if is_written:
                self._acknowledge(events)
                return
            time.sleep(random.uniform(0, 0.001 * min(attempt + 1, 20)))  # noqa: S311
        raise LogConflictError(
            f"other writers of the log {self._log.location} were faster {MAX_ATTEMPTS} times in "
            "a row: try again when it is quieter",
            location=self._log.location,
        )

    def commit(self, keys: SessionKeys, others: Sequence[Aggregate]) -> None:
        """Write what a transaction collected, all or nothing.

        Raises:
            TransactionConflictError: the log moved since the transaction began.
        """
        events = list(keys.pending_events)
        base = keys.version - len(events)
        if self._reader.read().position != base or not self._log.append(keys, *others):
            raise TransactionConflictError(
                f"the log {self._log.location} moved while the transaction was open: nothing "
                "was written; run it again",
                location=self._log.location,
            )
        self._acknowledge(events)

    def destroy(
        self,
        initiator: str | None,
        reason: str | None,
        *,
        purge: bool,
        only_if_destroyed: bool = False,
    ) -> None:
        """End all keys; with `purge` remove the history before that, in the same transaction.

        Args:
            initiator: who; None: the manager's own.
            reason: why.
            purge: leave only the event that says so.
            only_if_destroyed: leave a manager alone that has begun anew meanwhile.
        """

        def change(keys: SessionKeys) -> None:
            is_done = keys.is_purged if purge else keys.is_destroyed
            if keys.version and not is_done and (keys.is_destroyed or not only_if_destroyed):
                keys.destroy(self._key_ring, self.by(initiator, reason), purge=purge)

        self.write(change, purge=purge)

    def _acknowledge(self, events: Sequence[object]) -> None:
        """Read a commit back; log it, and move the anchor. Nothing here writes it again."""
        changes = [event for event in events if isinstance(event, KeyEvent)]
        if not changes:
            return
        last = changes[-1]
        try:
            is_there = self._reader.holds(last.originator_version, last.digest)
            head = self._reader.get()
        except LogError as error:
            raise self._not_read_back(str(error)) from error
        if not is_there:
            raise self._not_read_back("another event, or none, stands at its position")
        self.move_anchor(head)
        self._activity.note(changes)
        for change in changes:
            self._logger.info(
                "session keys changed",
                kind=change.kind,
                position=change.originator_version,
                generation=change.generation,
                kid=change.key_id,
                initiator=change.initiator,
                reason=change.reason,
            )

    def move_anchor(self, head: Head, *, anywhere: bool = False) -> None:
        """Move the anchor to a head that was read, by whatever process it was written.

        The change is in the log by now, so a failure here is no failure of the change.
        """
        # An advance to the same head may have left an anchor that is ahead where it was.
        is_known = head is self._anchored and not anywhere
        if self._anchor is None or head.position == 0 or is_known:
            return
        move = self._anchor.replace if anywhere else self._anchor.advance
        try:
            move(self._name, head.mark)
            self._anchored = head
        except AnchorError as error:
            self._logger.warning("the anchor could not be moved", detail=str(error))

    def _not_read_back(self, why: str) -> KeyturnError:
        return LogUnavailableError(
            f"the change was committed to the log {self._log.location}, but could not be read "
            f"back: {why}. Look at the history before you make it again",
            location=self._log.location,
            recorded=None,
        )


def user_at_host() -> str:
    """Return user@host of the operating system; behind sudo, the user who called it."""
    user = os.environ.get("SUDO_USER", "")
    if not user:
        try:  # of the system, and not LOGNAME, which anybody can set
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a user id without a name, in a container
            user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
