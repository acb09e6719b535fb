"""The session manager: an actor that owns the keys of one manager and their log."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import pykka

from keyturn.actors import messages
from keyturn.actors.key_writer import KeyWriter, new_secret
from keyturn.actors.lifecycle import Status, manager_lifecycle
from keyturn.actors.messages import TokenReport
from keyturn.actors.rotation_timer import RotateIfDue, Rotator
from keyturn.actors.subscriptions import Subscribers
from keyturn.actors.supervision import SupervisedActor
from keyturn.actors.ticker import Ticker, process_ticker
from keyturn.actors.token_inspector import TokenInspector
from keyturn.actors.token_issuer import TokenIssuer
from keyturn.actors.transaction import Transaction
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.logging import Logger
from keyturn.domain.claims import check_expiry
from keyturn.domain.errors import (
    UnknownMessageError,
)
from keyturn.domain.history_guard import HistoryGuard
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.rotation import RotationPolicy
from keyturn.domain.tokens import KeySet, SessionKey, SessionToken
from keyturn.projections.current_key import CurrentKey
from keyturn.projections.history import (
    EVERYTHING,
    HistoryFilter,
    KeyChange,
    RotationHistory,
)

DEFAULT_EXPIRY = 24 * 60 * 60.0
"""Seconds: one day. A leaked token must not be for ever by accident."""


class SessionManager(SupervisedActor):
    """Creates, verifies and revokes session tokens.

    Start it with `SessionManager.start(…)`, which returns its `ActorRef` and raises what goes
    wrong. Send it the messages of `keyturn.actors.messages`, or call its methods through
    `ref.proxy()`; there `Start` and `Stop` are `resume` and `suspend`, since `start` and `stop`
    are pykka's own.

    Args:
        log: where key changes are recorded: see `open_event_log`.
        key_ring: identity and sealing key.
        expiry: seconds a token lives unless told otherwise; None: for ever.
        name: which manager of the log this is.
        fresh: reset the key at once.
        logger: a structlog logger; None: Keyturn's own.
        anchor: remembers where the log ended; None: a rolled-back log goes unnoticed.
        accept_rollback: take the log as it is, and reset the key.
        max_lifetime: seconds that a session may last, however often refreshed; None: for ever.
        initiator: who is recorded unless a message says; None: `user@host`.
        rotate_every: seconds after which a key is rotated with nobody asking; None: never.
        overlap: whole seconds that tokens under such a key stay good then; None: as long as a
            token lives.
        clock: seconds since the epoch, for expiry.
        ticker: has the age of the key looked at; None: nobody does, but for `RotateIfDue`.
        subscribers: those of an actor that this one takes the place of.
        is_first_start: make new keys if they were destroyed; otherwise that is an error.
    """

    def __init__(
        self,
        log: KeyLog,
        key_ring: KeyRingLike,
        expiry: float | None = DEFAULT_EXPIRY,
        name: str = "default",
        fresh: bool = False,
        logger: Logger | None = None,
        *,
        anchor: Anchor | None = None,
        accept_rollback: bool = False,
        max_lifetime: float | None = None,
        initiator: str | None = None,
        rotate_every: float | None = None,
        overlap: int | None = None,
        clock: Clock = steady_time,
        ticker: Ticker | None = process_ticker,
        subscribers: Subscribers | None = None,
        is_first_start: bool = True,
    ) -> None:
        policy = RotationPolicy.of(rotate_every, overlap, check_expiry(expiry))
        super().__init__(logger)
        self._name = name
        self._log = log
        self._key_ring = key_ring
        self._lifecycle = manager_lifecycle(name)
        guard = HistoryGuard(log, name, key_ring.node_id)
        self.keys = KeyWriter(
            log,
            guard,
            key_ring,
            name,
            self._lifecycle,
            on_change=self._notice_change,
            anchor=anchor,
            initiator=default_initiator() if initiator is None else initiator,
            clock=clock,
            logger=self._logger,
        )
        self._current_key = CurrentKey(log, key_ring, name, self._poke, guard)
        self.subscribers = subscribers or Subscribers(self._logger)
        self._end_watch: Callable[[], None] | None = None
        self.tokens = TokenIssuer(
            self._current_key,
            self._lifecycle,
            node_id=key_ring.node_id,
            manager=name,
            expiry=expiry,
            max_lifetime=max_lifetime,
            clock=clock,
            logger=self._logger,
        )
        self.inspector = TokenInspector(
            self._current_key,
            self._lifecycle,
            log=log,
            key_ring=key_ring,
            manager=name,
            max_lifetime=max_lifetime,
            clock=clock,
        )
        self._rotator = Rotator(
            policy,
            self.keys,
            clock=clock,
            ticker=ticker,
            tell=self._tell_myself,
            logger=self._logger,
        )
        # Here and not in on_start, whose errors pykka logs and keeps to itself.
        self._rotator.see(
            self.keys.begin(fresh=fresh, accept_rollback=accept_rollback, is_first=is_first_start)
        )
        self._current_key.get()
        if self.subscribers:
            self._watch()
            self._poke()
        self._rotator.start()

    # --- tokens ---

    def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """See `CreateToken`."""
        return self.tokens.create(expiry, subject, claims, self._keys_of(tran))

    def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """See `VerifyToken`."""
        return self.tokens.verify(token, self._keys_of(tran))

    def create_tokens(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> list[SessionToken]:
        """See `CreateTokens`."""
        return self.tokens.create_many(count, expiry, subject, claims, self._keys_of(tran))

    def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]:
        """See `VerifyTokens`."""
        return self.tokens.verify_many(tokens, self._keys_of(tran))

    def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken:
        """See `RefreshToken`."""
        return self.tokens.refresh(token, expiry, self._keys_of(tran))

    def inspect_token(self, token: object, at: datetime | None = None) -> TokenReport:
        """See `InspectToken`."""
        return self.inspector.inspect(token, at)

    def read_history(
        self,
        which: HistoryFilter = EVERYTHING,
        newest_first: bool = False,
        behind: int | None = None,
        limit: int = 100,
        at: datetime | None = None,
    ) -> tuple[KeyChange, ...]:
        """See `ReadHistory`."""
        history = RotationHistory(self._log, self._name)
        if at is not None:
            change = history.at(at)
            return () if change is None else (change,)
        page = history.changes(which, newest_first=newest_first, behind=behind, limit=limit)
        return tuple(page)

    # --- keys ---

    def setup_key(self) -> SessionKey:
        """See `SetupKey`."""
        self._lifecycle.require_running()
        keys = self.keys.load()
        return SessionKey(keys.generation, keys.key_id, keys.unseal(self._key_ring))

    def reset_key(
        self,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> None:
        """See `ResetKey`."""
        self._lifecycle.require_running()
        if tran is None:
            self.keys.reset(reason, initiator)
            return
        tran.require_open(self)
        by = self.keys.by(initiator, reason)
        tran.working_keys.reset(new_secret(), self._key_ring, by)
        tran.key_set = self._current_key.snapshot_of(tran.working_keys).keys

    def rotate_key(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """See `RotateKey`."""
        self.keys.rotate(overlap, reason, initiator)

    # --- lifecycle ---

    def resume(self, fresh: bool = False) -> None:
        """See `Start`."""
        if self._lifecycle.should_start(with_arguments=fresh):
            self._rotator.see(self.keys.begin(fresh=fresh, is_first=False))
            self._current_key.forget()
            self._lifecycle.status = Status.RUNNING
            self._rotator.start()
            self._tell_news()
            self.subscribers.tell(messages.ManagerStarted(self._name))

    def suspend(self) -> None:
        """See `Stop`."""
        if self._lifecycle.is_running:
            self._rotator.stop()
            with self._lifecycle.lock:
                self._lifecycle.status = Status.STOPPED
            self._tell_news()
            self.subscribers.tell(messages.ManagerStopped(self._name))

    def destroy(self, purge: bool = False) -> None:
        """See `Destroy`."""
        is_new = self._lifecycle.should_destroy()
        if is_new:
            self.keys.destroy()
            self._tell_news()
        if purge:
            self.keys.purge()
        if is_new:
            self._lifecycle.status = Status.DESTROYED
            self.subscribers.tell(messages.ManagerDestroyed(self._name))

    def recover(self) -> None:
        """Start again from the log (in the actor's thread, after a bug)."""
        self._current_key.forget()

    def on_stop(self) -> None:
        """Stop watching log and clock (in the actor's thread, as its last act)."""
        self._stop_watching()
        self._rotator.stop()
        super().on_stop()

    # --- subscribers ---

    def subscribe(self, ref: pykka.ActorRef[Any]) -> None:
        """See `Subscribe`."""
        self._lifecycle.require_running()
        if not self.subscribers:
            self.subscribers.told_position = self.keys.load().version
        self._tell_news()
        self.subscribers.add(ref)
        self._watch()

    def unsubscribe(self, ref: pykka.ActorRef[Any]) -> None:
        """See `Unsubscribe`."""
        self.subscribers.remove(ref)
        if not self.subscribers:
            self._stop_watching()

    def _tell_news(self) -> None:
        """Tell subscribers what the log holds beyond what they were told.

        Only here, in the actor's thread, and from the log: so it is in order, and each once.
        """
        if not self.subscribers:
            return
        for event in self._log.key_events(self._name, after=self.subscribers.told_position):
            self.subscribers.tell(event)
            self.subscribers.told_position = event.originator_version

    def _notice_change(self) -> None:
        if self.subscribers:
            self._poke()

    def _poke(self) -> None:
        """Have the actor look at the log, from whatever thread noticed that it changed."""
        self._tell_myself(_LogChanged())

    def _tell_myself(self, message: object) -> None:
        with contextlib.suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    def _watch(self) -> None:
        if self._end_watch is None:
            self._end_watch = self._log.watch(self._poke)

    def _log_changed(self) -> None:
        self._rotator.see(self.keys.note_head())
        if self._lifecycle.is_running:
            self._tell_news()

    def _stop_watching(self) -> None:
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    # --- transactions ---

    def begin_transaction(self) -> Transaction:
        """See `BeginTransaction`."""
        self._lifecycle.require_running()
        return Transaction(self, self.keys.load())

    def commit_transaction(self, tran: Transaction) -> None:
        """See `CommitTransaction`."""
        self._lifecycle.require_running()
        tran.require_open(self)
        tran.close()
        self.keys.commit(tran.working_keys, tran.aggregates)
        self._tell_news()

    def _keys_of(self, tran: Transaction | None) -> KeySet | None:
        if tran is None:
            return None
        tran.require_open(self)
        return tran.key_set

    def _on_start_message(self, message: messages.Start) -> None:
        if message.session_token is not None:
            raise UnknownMessageError("a SessionManager takes no session token: a Session does")
        self.resume(message.fresh)

    handlers: ClassVar = {
        messages.SetupKey: lambda self, m: self.setup_key(),
        messages.CreateToken: lambda self, m: self.create_token(
            m.expiry, m.subject, m.claims, m.tran
        ),
        messages.VerifyToken: lambda self, m: self.tokens.verify(
            m.token, None if m.tran is None else self._keys_of(m.tran)
        ),
        messages.CreateTokens: lambda self, m: self.create_tokens(
            m.count, m.expiry, m.subject, m.claims, m.tran
        ),
        messages.VerifyTokens: lambda self, m: self.verify_tokens(m.tokens, m.tran),
        messages.RefreshToken: lambda self, m: self.refresh_token(m.token, m.expiry, m.tran),
        messages.InspectToken: lambda self, m: self.inspect_token(m.token, m.at),
        messages.ReadHistory: lambda self, m: self.read_history(
            m.which, m.newest_first, m.behind, m.limit, m.at
        ),
        messages.ResetKey: lambda self, m: self.reset_key(m.reason, m.initiator, m.tran),
        messages.RotateKey: lambda self, m: self.rotate_key(m.overlap, m.reason, m.initiator),
        messages.Start: _on_start_message,
        messages.Stop: lambda self, m: self.suspend(),
        messages.Destroy: lambda self, m: self.destroy(m.purge),
        messages.Subscribe: lambda self, m: self.subscribe(m.ref),
        messages.Unsubscribe: lambda self, m: self.unsubscribe(m.ref),
        messages.BeginTransaction: lambda self, m: self.begin_transaction(),
        messages.CommitTransaction: lambda self, m: self.commit_transaction(m.tran),
    }


class _LogChanged:
    """Told by the watcher: somebody committed."""


SessionManager.handlers[_LogChanged] = lambda self, m: self._log_changed()
SessionManager.handlers[RotateIfDue] = lambda self, m: self._rotator.rotate_if_due()


def default_initiator() -> str:
    """Return `user@host` of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, in a container
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
