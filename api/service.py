"""The service handle: a session manager's messages as plain methods.

What only reads runs in the caller's own thread, with the parts that the manager's actor uses
too. Whatever changes something is a message to the actor.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import pykka

from keyturn.actors import messages
from keyturn.actors.activity import Metrics
from keyturn.actors.asking import DEFAULT_TIMEOUT, ask
from keyturn.actors.lifecycle import Status
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.messages import Message
from keyturn.actors.session_manager import SessionManager
from keyturn.actors.transacting import transaction
from keyturn.actors.transaction import Transaction
from keyturn.config.clock import Clock
from keyturn.config.event_log import EventLog
from keyturn.config.local_key_ring import KeyRing
from keyturn.config.threads import in_thread
from keyturn.domain.errors import (
    KeyRingDamagedError,
    KeyRingNotFoundError,
    LogClosedError,
    SessionManagerNotRunningError,
    WrongPasswordError,
)
from keyturn.domain.limits import check_name
from keyturn.domain.manager_state import ManagerState
from keyturn.domain.secret import Password, hidden
from keyturn.domain.tokens import SessionToken
from keyturn.operations import asking_time, operation
from keyturn.record import Record
from keyturn.token_file import ClientSession
from keyturn.token_methods import TokenMethods

R = TypeVar("R")

StartManager = Callable[..., "pykka.ActorRef[SessionManager]"]
"""Starts the actor of a manager of these parts: see `SessionManager.start_on`."""


class Service(TokenMethods, Record):
    """A session manager, ready to use from any thread. Get one from `keyturn.open`.

    Close it, or use it in a `with` block.

    Attributes:
        parts: what the manager is made of, for reading in the caller's thread.
        is_closed: whether it was closed.
        lock_timeout: seconds within which the actor must begin with what it is asked.
    """

    def __init__(
        self,
        parts: ManagerParts,
        log: EventLog,
        start_manager: StartManager,
        *,
        parent: Self | None = None,
        create: bool = True,
        fresh: bool = False,
        accept_rollback: bool = False,
        lock_timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__(parts)
        self._log = log
        self._start_manager = start_manager
        self._manager: pykka.ActorRef[SessionManager] = in_thread(
            lambda: start_manager(
                parts, may_generate=create, fresh=fresh, accept_rollback=accept_rollback
            )
        )
        self._create = create
        self._parent = parent
        self._named: dict[str, Self] = {}
        self.lock_timeout = lock_timeout
        self._pid = os.getpid()
        self._lock = threading.RLock()  # one at a time opens, starts again or closes
        self.is_closed = False
        self._sessions: list[ClientSession] = []

    @property
    def manager(self) -> pykka.ActorRef[SessionManager]:
        """The manager's actor, for messages. One that died is started again from the log."""
        return self.running_manager or in_thread(self._start_again)

    @property
    def running_manager(self) -> pykka.ActorRef[SessionManager] | None:
        """The manager's actor if it runs; None if `manager` would have to start it again."""
        self._require_own_process()
        return self._manager if self._manager.is_alive() else None

    @property
    def log(self) -> EventLog:
        """The log: an eventsourcing application, where a host may keep aggregates too.

        Raises:
            LogClosedError: the service was closed.
        """
        if self.is_closed:
            raise LogClosedError(_CLOSED, location=self._log.location)
        return self._log

    @property
    def clock(self) -> Clock:
        """The time that decides about expiry, as it was given to `open`."""
        return self.parts.clock

    def ask(self, message: Message[R], *, timeout: float | None = None) -> R:
        """Send the manager a message and wait for its reply: see `keyturn.ask`.

        Args:
            message: the message.
            timeout: seconds to wait; None: 30, but the actor must begin within `lock_timeout`.
        """
        return ask(self.manager, message, **asking_time(message, timeout, self.lock_timeout))

    # --- changes: messages to the actor ---

    reset_key = operation(messages.ResetKey)
    rotate_key = operation(messages.RotateKey)
    end_session = operation(messages.EndSession)
    end_sessions = operation(messages.EndSessions)
    destroy = operation(messages.Destroy)
    stop = operation(messages.Stop)
    subscribe = operation(messages.Subscribe)
    unsubscribe = operation(messages.Unsubscribe)

    def start(self, fresh: bool = False) -> None:
        """Start the manager again after `stop`; with `fresh` its key is reset."""
        self.ask(messages.Start(fresh))

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction at the beginning of a block, and commit it at its end.

        An exception in the block discards it.

        Raises:
            TransactionConflictError: the log moved meanwhile, and nothing was written.
        """
        return transaction(self.manager)

    # --- what there is to know of it ---

    def managers(self) -> list[ManagerState]:
        """Return the managers of the log, by name: what the log says, no signature checked.

        Raises:
            LogError: the log cannot be read.
        """
        return self.log.managers()

    def metrics(self) -> Metrics:
        """Return the figures of this manager in this process. Reads nothing, never waits."""
        reader = self.parts.reader
        heard = min(self._log.seconds_since_heard(), reader.seconds_since_read)
        return self.parts.activity.metrics(reader.known, heard)

    def check_password(self, password: Password) -> bool:
        """Return whether this is the password of the key ring's file, as it is now.

        It takes about a quarter of a second, as guessing should.

        Args:
            password: anything that was typed; None: whether it has none.

        Raises:
            KeyRingNotFoundError: the key ring is in no file, or that is gone.
            KeyRingError: the file is not that key ring any more, or cannot be read.
        """
        password = hidden(password)
        key_ring = self.parts.key_ring
        if not isinstance(key_ring, KeyRing):
            raise KeyRingNotFoundError("this key ring is in no file, and has no password")
        try:
            node_id = key_ring.reopen(password).node_id
        except WrongPasswordError:
            return False
        if node_id != key_ring.node_id:
            path = str(key_ring.path)
            message = f"another key ring lies at {path} now: put back the one of this log"
            raise KeyRingDamagedError(message, path=path)
        return True

    # --- other services, and the end ---

    def named(self, name: str, *, create: bool | None = None) -> Self:
        """Return the service of another manager of the same log, with the settings of this one.

        It has keys and a history of its own; log, key ring and anchor are shared. The same name
        gives the same service, until somebody closes it; all are closed with the one that was
        opened. A new name makes a manager, and an event in the log: pass only names you know, or
        `create=False`.

        Args:
            name: which manager.
            create: whether to make it if there is none; None: as `open` was told.

        Raises:
            ManagerNotFoundError: there is none, and none may be made.
            SessionManagerDestroyedError: it was destroyed, and may not be made anew.
            SessionManagerNotRunningError: this service was closed.
            AuditTextError: the name cannot be recorded.
            LogError: the log cannot be read or written, or is not to be trusted.
        """
        self._require_own_process()
        self._require_open()
        check_name(name)
        if name == self.parts.name:
            return self
        may_create = self._create if create is None else create
        if self._parent is not None:
            return self._parent.named(name, create=may_create)
        return self._named.get(name) or in_thread(lambda: self._open_once(name, may_create))

    def session(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> ClientSession:
        """Return the handle of a token file; it is closed with the service.

        Args:
            path: the file.
            session_token: a token to write at once.
            fresh: remove the token that is there.

        Raises:
            TokenFileError: the file cannot be used.
        """
        self._require_own_process()

        def open_session() -> ClientSession:
            with self._lock:
                self._require_open()
                session = ClientSession(path, session_token, fresh)
                self._sessions = [s for s in self._sessions if s.ref.is_alive()] + [session]
            return session

        return in_thread(open_session)

    def close(self) -> None:
        """End the actors' threads and close the log. Calling it again does nothing.

        A change that is under way is waited for, but no longer than `lock_timeout`: then its
        thread is left behind. A close that is interrupted by a signal goes on all the same.
        """
        if os.getpid() != self._pid:  # after a fork nothing of it is ours, its locks neither
            self.is_closed = True
            return
        in_thread(self._close_once)

    def _close_once(self) -> None:
        with self._lock:
            if not self.is_closed:
                self._close()

    def _close(self) -> None:
        services: list[Service] = [self, *self._named.values()]
        refs: list[pykka.ActorRef[Any]] = []
        for service in services:
            service.is_closed = True
            refs += [service._manager, *(session.ref for session in service._sessions)]  # noqa: SLF001
        deadline = time.monotonic() + self.lock_timeout
        for reply in [ref.stop(block=False) for ref in refs]:
            with contextlib.suppress(pykka.Timeout):
                reply.get(timeout=max(0.0, deadline - time.monotonic()))
        for service in services:
            service.parts.lifecycle.status = Status.CLOSED
            service.parts.subscriptions.close()
        if self._parent is None:
            self._log.close()
        else:
            self._parent._named.pop(self.parts.name, None)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "is_closed", True) and os.getpid() == self._pid:
            if self._parent is None:
                message = f"{self!r} was never closed"
                warnings.warn(message, ResourceWarning, source=self, stacklevel=2)
            # Not `close`: at exit the actors' threads stand still, and would be waited for.
            # Nor is the log closed: a finalizer must not wait for a lock.
            with contextlib.suppress(Exception):
                self._manager.stop(block=False)
                self._log.stop_soon()

    def __repr__(self) -> str:
        return f"<keyturn.Service {self.parts.name!r} on {self._log.location}>"

    def _open_once(self, name: str, create: bool) -> Self:
        with self._lock:
            service = self._named.get(name)
            if service is None:
                service = self._named[name] = self._open_named(name, create)
            return service

    def _open_named(self, name: str, create: bool) -> Self:
        self._require_open()
        parts = ManagerParts(
            self._log,
            self.parts.key_ring,
            replace(self.parts.options, name=name),
            anchor=self.parts.anchor,
            clock=self.parts.clock,
            logger=self.parts.logger,
        )
        return type(self)(
            parts,
            self._log,
            self._start_manager,
            parent=self,
            create=create,
            lock_timeout=self.lock_timeout,
        )

    def _start_again(self) -> pykka.ActorRef[SessionManager]:
        with self._lock:
            self._require_open()
            if not self._manager.is_alive():
                self.parts.lifecycle.require_not_destroyed()
                self._manager = self._start_manager(self.parts, may_generate=False)
            return self._manager

    def _require_open(self) -> None:
        if self.is_closed:
            raise SessionManagerNotRunningError(_CLOSED)

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise LogClosedError(
                "the service was opened before a fork: open it again in this process",
                location=self._log.location,
            )


_CLOSED = "the service was closed: open it again"
