"""The service handle: a session manager's messages as plain methods.

Tokens and resets are made in the caller's own thread, by the parts that the manager's actor
uses too; whatever else changes something is a message to the actor.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import pykka

from keyturn.actors import messages
from keyturn.actors.asking import ask
from keyturn.actors.key_writer import KeyWriter
from keyturn.actors.lifecycle import Status
from keyturn.actors.messages import Message, TokenReport
from keyturn.actors.session_manager import SessionManager
from keyturn.actors.subscriptions import Subscribers
from keyturn.actors.token_inspector import TokenInspector
from keyturn.actors.token_issuer import TokenIssuer
from keyturn.actors.transaction import Transaction, transaction
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.event_log import EventLog
from keyturn.domain.batches import check_batch
from keyturn.domain.errors import (
    LogClosedError,
    SessionManagerNotRunningError,
)
from keyturn.domain.limits import check_name
from keyturn.domain.redaction import without_frames
from keyturn.domain.tokens import SessionToken
from keyturn.named_services import NamedServices
from keyturn.record import Record
from keyturn.token_file import ClientSession

R = TypeVar("R")
_CLOSED = "the service was closed: open it again"


class StartManager(Protocol):
    """Starts the manager of a name; `replacing` are the subscribers of one that died."""

    def __call__(
        self, name: str, replacing: Subscribers | None = None
    ) -> pykka.ActorRef[SessionManager]: ...


class Service(Record):
    """A session manager, ready to use from any thread. Get one from `keyturn.open`.

    Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        manager: pykka.ActorRef[SessionManager],
        start_manager: StartManager,
        log: EventLog,
        name: str,
        anchor: Anchor | None,
        clock: Clock = steady_time,
        parent: Self | None = None,
    ) -> None:
        self._manager = manager
        self._take_parts()
        super().__init__(log, name, self._tokens.node_id, anchor)
        self._start_manager = start_manager
        self._clock = clock
        self._parent = parent
        self._named: NamedServices[Self] = (
            NamedServices() if parent is None else parent._named  # noqa: SLF001 - of its kind
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._sessions: list[ClientSession] = []

    @property
    def manager(self) -> pykka.ActorRef[SessionManager]:
        """The manager's actor, for messages. One that died is started again from the log."""
        self._require_own_process()
        if self._manager.is_alive():
            return self._manager
        with self._lock:
            self._require_open()
            if not self._manager.is_alive():
                self._restart()
            return self._manager

    @property
    def log(self) -> EventLog:
        """The log: an eventsourcing application, where a host may keep aggregates too.

        Raises:
            LogClosedError: the service was closed.
        """
        if self._closed:
            raise LogClosedError(_CLOSED, location=self._log.location)
        return self._log

    @property
    def clock(self) -> Clock:
        """The time that decides about expiry, as it was given to `open`."""
        return self._clock

    @property
    def tokens(self) -> TokenIssuer:
        """The part that makes and checks tokens, in the caller's thread."""
        return self._tokens

    # --- tokens ---

    def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """Return a new token, of a new session.

        Args:
            expiry: seconds; None: the manager's default.
            subject: whose session it is; None: the node's.
            claims: the host's own claims.
            tran: an open transaction, whose key it is to see.

        Raises:
            ExpiryError: the expiry is not a finite number ≥ 0.
            ClaimError: a claim is reserved, or is no value of JSON.
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        if tran is None:
            return self._tokens.create(expiry, subject, claims)
        return self._ask(messages.CreateToken(expiry, subject, claims, tran))

    def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """Return whether `token` is a good token; False for everything else there is.

        Raises:
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        if tran is None:
            return self._tokens.verify(token)
        return self._ask(messages.VerifyToken(token, tran))

    def create_tokens(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> list[SessionToken]:
        """Return new tokens, each of a session of its own: see `create_token`.

        Args:
            count: how many, at most 10,000.
            expiry: seconds; None: the manager's default.
            subject: whose sessions they are; None: the node's.
            claims: the host's own claims, the same in each.
            tran: an open transaction, whose key they are to see.

        Raises:
            BatchError: the count is no whole number from 0 to 10,000.
        """
        if tran is None:
            return self._tokens.create_many(count, expiry, subject, claims)
        return self._ask(messages.CreateTokens(count, expiry, subject, claims, tran))

    def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]:
        """Return for each of many whether it is a good token, in their order.

        All are judged by the keys and the time of one moment: that of this call. So it is
        quicker than to verify one after the other, and a reset meanwhile is for the next call.

        Args:
            tokens: at most 10,000; each may be anything.
            tran: an open transaction, whose key they are to see.

        Raises:
            BatchError: these are too many, or it is a single token or no list at all.
        """
        if tran is None:
            return self._tokens.verify_many(tokens)
        return self._ask(messages.VerifyTokens(check_batch(tokens), tran))

    @without_frames
    def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken:
        """Return a new token of the same session.

        Raises:
            TokenRefusedError: the token is not good; `reason` says why.
            ExpiryError: the expiry is not a finite number ≥ 0.
        """
        if tran is None:
            return self._tokens.refresh(token, expiry)
        return self._ask(messages.RefreshToken(token, expiry, tran))

    def inspect_token(self, token: object, at: datetime | None = None) -> TokenReport:
        """Return all that is known of a token, good or not, now or as of a moment."""
        return self._inspector.inspect(token, at)

    # --- keys ---

    def reset_key(
        self,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> None:
        """Make a new key: every earlier token is refused at once, in every process.

        Args:
            reason: why, for the record.
            initiator: who, for the record; None: the default.
            tran: an open transaction, with which it then takes effect.

        Raises:
            LogUnavailableError: it cannot be recorded now; `recorded` says what became of it.
            LogConflictError: other writers were faster, many times in a row.
            AuditTextError: reason or initiator cannot be recorded.
        """
        if tran is None:
            self._require_own_process()
            self._keys.reset(reason, initiator)
        else:
            self._ask(messages.ResetKey(reason, initiator, tran))

    def rotate_key(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """Make a new key: tokens under the one before stay good until the overlap ends.

        New tokens, refreshed ones too, are under the new key. A reset in between ends all
        others at once.

        Args:
            overlap: whole seconds from now on.
            reason: why, for the record.
            initiator: who, for the record; None: the default.

        Raises:
            ExpiryError: the overlap is not a whole number of seconds from 0 to 100 years.
            OverlapLimitError: too many keys would overlap; `until` says when the first ends.
            LogUnavailableError, LogConflictError, AuditTextError: as for `reset_key`.
        """
        self._require_own_process()
        self._keys.rotate(overlap, reason, initiator)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction, and commit it at the end of the block: see `Transaction`.

        Raises:
            TransactionConflictError: the log moved meanwhile, and nothing was written.
        """
        with transaction(self.manager) as tran:
            yield tran

    # --- lifecycle ---

    def start(self, fresh: bool = False) -> None:
        """Start the manager again after `stop`; with `fresh` its key is reset."""
        self._ask(messages.Start(fresh))

    def stop(self) -> None:
        """Stop the manager: no token is created or verified until `start`."""
        self._ask(messages.Stop())

    def destroy(self, purge: bool = False) -> None:
        """End the keys of a stopped manager for good; with `purge` remove their history too."""
        self._ask(messages.Destroy(purge))

    def named(self, name: str) -> Self:
        """Return the service of another manager of the same log, with the settings of this one.

        It has keys and a history of its own; log, key ring and anchor are shared. The same name
        gives the same service, until somebody closes it; all are closed with the one that was
        opened. A new name makes a manager, and an event in the log: pass only names you know.

        Args:
            name: which manager.

        Raises:
            SessionManagerNotRunningError: this service was closed.
            AuditTextError: the name cannot be recorded.
            LogError: the log cannot be read or written, or is not to be trusted.
        """
        self._require_own_process()
        self._require_open()
        check_name(name)
        if name == self._name:
            return self
        if self._parent is not None:
            return self._parent.named(name)
        return self._named.get(name, self._open_named)

    def session(
        self,
        path: str | Path,
        session_token: SessionToken | None = None,
        fresh: bool = False,
    ) -> ClientSession:
        """Return the session of a token file; it is closed with the service."""
        self._require_own_process()
        with self._lock:
            self._require_open()
            session = ClientSession(path, session_token, fresh)
            self._sessions = [s for s in self._sessions if s.ref.is_alive()] + [session]
        return session

    def close(self) -> None:
        """End the actors' threads and close the log. Calling it again does nothing."""
        if os.getpid() != self._pid:  # after a fork nothing of it is ours, its locks neither
            self._closed = True
            return
        with self._lock:
            if self._closed:
                return
            if self._parent is not None:
                self._named.discard(self._name)
            self._closed = True
        if self._parent is None:
            self._named.close()
        for session in self._sessions:
            session.close()
        with contextlib.suppress(pykka.ActorDeadError):
            self._manager.stop()
        with self._tokens.lifecycle.lock:  # a reset that is under way is let finish
            self._tokens.lifecycle.status = Status.CLOSED
        if self._parent is None:
            self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and os.getpid() == self._pid:
            if self._parent is None:
                message = f"{self!r} was never closed"
                warnings.warn(message, ResourceWarning, source=self, stacklevel=2)
            # Not `close`: at exit the actors' threads stand still, and would be waited for.
            # Nor is the log closed: a finalizer must not wait for a lock.
            with contextlib.suppress(Exception):
                self._manager.stop(block=False)
                self._log.stop_soon()

    def __repr__(self) -> str:
        return f"<keyturn.Service {self._name!r} on {self._log.location}>"

    def _ask(self, message: Message[R]) -> R:
        return ask(self.manager, message)

    def _open_named(self, name: str) -> Self:
        self._require_open()
        manager = self._start_manager(name)
        return type(self)(
            manager,
            self._start_manager,
            self._log,
            name,
            self._anchor,
            self._clock,
            parent=self,
        )

    def _take_parts(self) -> None:
        """Take the actor's parts that are safe to use from any thread."""
        manager = self._manager.proxy()
        self._tokens: TokenIssuer = manager.tokens.get()
        self._inspector: TokenInspector = manager.inspector.get()
        self._keys: KeyWriter = manager.keys.get()
        self._subscribers: Subscribers = manager.subscribers.get()

    def _require_open(self) -> None:
        if self._closed:
            raise SessionManagerNotRunningError(_CLOSED)

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise LogClosedError(
                "the service was opened before a fork: open it again in this process",
                location=self._log.location,
            )

    def _restart(self) -> None:
        lifecycle = self._tokens.lifecycle
        lifecycle.require_not_destroyed()
        self._manager = self._start_manager(self._name, self._subscribers)
        self._take_parts()
        if not lifecycle.is_running:
            ask(self._manager, messages.Stop())
