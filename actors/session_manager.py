"""The session manager: the actor that owns a manager's stream, and is its only writer here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import pykka
from msgspec import UNSET, UnsetType

from keyturn.actors import messages
from keyturn.actors.ended_watch import EndedSessionsWatch
from keyturn.actors.key_writer import KeyWriter, new_secret
from keyturn.actors.lifecycle import Status
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.messages import FrozenMessage
from keyturn.actors.reading_actor import ReadingActor
from keyturn.actors.rotation_timer import RotateIfDue, RotationTimer
from keyturn.actors.supervision import handles
from keyturn.actors.ticker import Ticker, process_ticker
from keyturn.actors.transaction import Transaction, keys_seen
from keyturn.config.anchor import Anchor
from keyturn.config.clock import Clock, steady_time
from keyturn.config.logging import HostLogger
from keyturn.domain.batches import check_sids
from keyturn.domain.claims import check_subject
from keyturn.domain.errors import (
    KeyturnError,
    SessionArgumentError,
    TokenRefusedError,
    UnknownMessageError,
)
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.options import ManagerOptions
from keyturn.domain.session_keys import Origin, SessionKeys
from keyturn.domain.tokens import KeySet, SessionKey

T = TypeVar("T")


class _FollowLog(FrozenMessage[None], frozen=True):
    """Told by a thread that read newer events: what to do then is done after each message."""


class SessionManager(ReadingActor):
    """Creates, verifies and revokes session tokens.

    Start it with `SessionManager.start(…)`, which returns its `ActorRef` and raises what goes
    wrong. Send it the messages of `keyturn.actors.messages`, or call its methods through
    `ref.proxy()`; there `Start` and `Stop` are `resume` and `suspend`, since `start` and `stop`
    are pykka's own.

    Args:
        parts: what it is made of.
        ticker: has the age of the key looked at; None: nobody does, but for `RotateIfDue`.
        how: it begins: the arguments of `KeyWriter.begin`.
    """

    def __init__(
        self, parts: ManagerParts, *, ticker: Ticker | None = process_ticker, **how: bool
    ) -> None:
        super().__init__(parts)
        self._lifecycle = parts.lifecycle
        self._reader = parts.reader
        self._subscriptions = parts.subscriptions
        self._writer = KeyWriter(parts)
        self._timer = RotationTimer(parts, self._writer, ticker, self._tell_myself)
        self._ended = EndedSessionsWatch(parts.logger)
        self._end_watch: Callable[[], None] | None = None
        self._thread: int | None = None
        self._is_behind = False
        # Here and not in on_start, whose errors pykka logs and keeps to itself.
        self._writer.begin(**how)
        self._subscriptions.on_news = self._note_news
        self._follow_log()
        if self._subscriptions:
            self._watch()

    @classmethod
    def start(
        cls,
        log: KeyLog,
        key_ring: KeyRingLike,
        expiry: float | None | UnsetType = UNSET,
        name: str | UnsetType = UNSET,
        fresh: bool = False,
        logger: HostLogger | None = None,
        *,
        options: ManagerOptions | None = None,
        anchor: Anchor | None = None,
        accept_rollback: bool = False,
        trust_log: bool = False,
        clock: Clock = steady_time,
        ticker: Ticker | None = process_ticker,
    ) -> pykka.ActorRef[Self]:
        """Start a session manager.

        Args:
            log: where key changes are recorded: see `open_event_log`.
            key_ring: identity and sealing key.
            expiry: seconds a token lives unless told otherwise; None: for ever.
            name: which manager of the log this is.
            fresh: reset the key at once.
            logger: a structlog logger; None: Keyturn's own.
            options: name, expiry and more, in place of the two above.
            anchor: remembers where the log ended; None: a rolled-back log goes unnoticed.
            accept_rollback: take a log that is not the one seen before, and reset the key.
            trust_log: take a log that was never seen before as it is.
            clock: seconds since the epoch, for expiry.
            ticker: has the age of the key looked at; None: nobody does, but for `RotateIfDue`.

        Raises:
            LogError: the log cannot be read or written, or is not to be trusted.
            AnchorError: the anchor is damaged.
        """
        if options is None:
            given = {"expiry": expiry, "name": name}
            options = ManagerOptions(**{k: v for k, v in given.items() if v is not UNSET})  # type: ignore[arg-type]
        parts = ManagerParts(log, key_ring, options, anchor=anchor, clock=clock, logger=logger)
        return cls.start_on(
            parts,
            ticker=ticker,
            fresh=fresh,
            accept_rollback=accept_rollback,
            trust_log=trust_log,
        )

    @classmethod
    def start_on(cls, parts: ManagerParts, **how: Any) -> pykka.ActorRef[Self]:
        """Start a session manager of parts that others share.

        Args:
            parts: what it is made of.
            how: the other arguments of the class.
        """
        return super().start(parts, **how)

    # --- changes ---

    @handles(messages.SetupKey)
    def setup_key(self, _: messages.SetupKey) -> SessionKey:
        """See `SetupKey`."""
        self._lifecycle.require_running()
        keys = self._reader.read().keys
        return SessionKey(keys.generation, keys.key_id, keys.unseal(self._parts.key_ring))

    @handles(messages.ResetKey)
    def reset_key(self, message: messages.ResetKey) -> None:
        """See `ResetKey`."""
        self._change(
            lambda keys, by: keys.reset(new_secret(), self._parts.key_ring, by),
            message.initiator,
            message.reason,
            message.tran,
        )

    @handles(messages.RotateKey)
    def rotate_key(self, message: messages.RotateKey) -> None:
        """See `RotateKey`."""
        key_ring, overlap = self._parts.key_ring, message.overlap
        self._change(
            lambda keys, by: keys.rotate(new_secret(), key_ring, by, overlap=overlap),
            message.initiator,
            message.reason,
        )

    @handles(messages.EndSession)
    def end_session(self, message: messages.EndSession) -> bool:
        """See `EndSession`."""
        if (message.token is None) == (message.sid is None):
            raise SessionArgumentError("give a token of the session, or its sid: one of the two")
        if message.sid is not None:
            return self._end_sids([message.sid], message) > 0

        def end(keys: SessionKeys, by: Origin) -> bool:
            session = self._tokens.session_of(message.token, self._newest_keys(message.tran))
            if session is None or keys.ended.covers(session.sid, session.subject, session.began):
                return False
            keys.end_session(session.sid, self._parts.key_ring, by, subject=session.subject)
            return True

        return self._change(end, message.initiator, message.reason, message.tran)

    @handles(messages.EndSessions)
    def end_sessions(self, message: messages.EndSessions) -> int:
        """See `EndSessions`."""
        subject, keep, tran = message.subject, message.keep, message.tran
        if (subject is None) == (message.sids is None) or (keep is not None and subject is None):
            raise SessionArgumentError(
                "give a subject, and maybe what to keep, or sids: one of the two"
            )
        if message.sids is not None:
            return self._end_sids(message.sids, message)
        checked = check_subject(subject)

        def end(keys: SessionKeys, by: Origin) -> int:
            keep_sid = None if keep is None else self._sid_to_keep(keep, checked, tran)
            keys.end_sessions(checked, self._parts.key_ring, by, keep=keep_sid)
            return 1

        return self._change(end, message.initiator, message.reason, tran)

    def _end_sids(
        self, sids: Sequence[str], message: messages.EndSession | messages.EndSessions
    ) -> int:
        """End the sessions of these sids; return how many ends it took."""
        unique = dict.fromkeys(check_sids(sids))

        def end(keys: SessionKeys, by: Origin) -> int:
            going_on = [sid for sid in unique if not keys.ended.has_sid(sid)]
            for sid in going_on:
                keys.end_session(sid, self._parts.key_ring, by)
            return len(going_on)

        return self._change(end, message.initiator, message.reason, message.tran)

    def _sid_to_keep(self, keep: str, subject: str, tran: Transaction | None) -> str:
        """Return the sid of what is to be kept: a good token of the subject, or a sid."""
        if not isinstance(keep, str) or "." not in keep:
            return check_sids([keep])[0]
        try:
            found = self._tokens.authenticate(keep, None, self._newest_keys(tran))
        except TokenRefusedError as error:
            raise SessionArgumentError(
                f"the token to keep is not good ({error.reason.value}): nothing was ended"
            ) from error
        if found.subject != subject:
            raise SessionArgumentError(
                "the token to keep is of another subject: nothing was ended"
            )
        return found.sid

    def _newest_keys(self, tran: Transaction | None) -> KeySet:
        """Return the keys by which a token is judged before something is written because of it.

        A token may be of a key that another process made a moment ago.
        """
        return keys_seen(tran, self._parts) or self._reader.read().key_set

    def _change(
        self,
        command: Callable[[SessionKeys, Origin], T],
        initiator: str | None,
        reason: str | None,
        tran: Transaction | None = None,
    ) -> T:
        """Carry out a command at once, or on what a transaction will write."""
        self._lifecycle.require_running()
        result: list[T] = []

        def change(keys: SessionKeys) -> None:
            # The time is that of the attempt: after a conflict an earlier one would seem to be
            # that of a clock that was set back.
            result[:] = [command(keys, self._writer.by(initiator, reason))]

        if tran is None:
            self._writer.write(change)
        else:
            tran.require_open(self._parts)
            tran.carry_out(change, self._parts.key_ring)
        return result[0]

    # --- transactions ---

    @handles(messages.BeginTransaction)
    def begin_transaction(self, _: messages.BeginTransaction) -> Transaction:
        """See `BeginTransaction`."""
        self._lifecycle.require_running()
        return Transaction(self._parts, self._reader.read())

    @handles(messages.CommitTransaction)
    def commit_transaction(self, message: messages.CommitTransaction) -> None:
        """See `CommitTransaction`."""
        self._lifecycle.require_running()
        tran = message.tran
        tran.require_open(self._parts)
        tran.close()
        self._writer.commit(tran.keys, tran.aggregates)

    # --- lifecycle ---

    @handles(messages.Start)
    def resume(self, message: messages.Start) -> None:
        """See `Start`."""
        if message.session_token is not None:
            raise UnknownMessageError("a SessionManager takes no session token: a Session does")
        if self._lifecycle.should_start(with_arguments=message.fresh):
            self._writer.begin(fresh=message.fresh, may_generate=False)
            self._lifecycle.status = Status.RUNNING
            self._follow_log()
            self._subscriptions.publish(messages.ManagerStarted(self._parts.name))

    @handles(messages.Stop)
    def suspend(self, _: messages.Stop) -> None:
        """See `Stop`."""
        if self._lifecycle.is_running:
            self._lifecycle.status = Status.STOPPED
            self._timer.stop()
            self._follow_log()
            self._subscriptions.publish(messages.ManagerStopped(self._parts.name))

    @handles(messages.Destroy)
    def destroy(self, message: messages.Destroy) -> None:
        """See `Destroy`."""
        is_new = self._lifecycle.should_destroy()
        if is_new or message.purge:
            self._writer.destroy(
                message.initiator,
                message.reason,
                purge=message.purge,
                only_if_destroyed=not is_new,
            )
        if is_new:
            self._lifecycle.status = Status.DESTROYED
            self._subscriptions.publish(messages.ManagerDestroyed(self._parts.name))

    def recover(self) -> None:
        """Read the log anew (in the actor's thread, after a bug)."""
        self._reader.forget_changes()

    def on_start(self) -> None:
        """Note which thread is the actor's (in it, as its first act)."""
        self._thread = threading.get_ident()

    def on_stop(self) -> None:
        """Stop watching log and clock (in the actor's thread, as its last act)."""
        self._stop_watching()
        self._timer.stop()
        super().on_stop()

    # --- what is new in the log ---

    def handle(self, message: Any) -> Any:
        """Handle a message, and follow the log if newer events were read meanwhile."""
        try:
            return super().handle(message)
        finally:
            while self._is_behind:
                self._follow_log()

    def _follow_log(self) -> None:
        """Have timer, anchor and subscribers follow the log (in the actor's thread)."""
        self._is_behind = False
        with contextlib.suppress(KeyturnError):  # the next use of the log raises it
            head = self._reader.get()
            self._timer.see(head)
            self._ended.see(head)
            self._writer.move_anchor(head)
        self._subscriptions.publish_news()

    def _note_news(self) -> None:
        """Have the actor follow events that were read, in whatever thread."""
        if not self._is_behind:
            self._is_behind = True
            if threading.get_ident() != self._thread:
                self._tell_myself(_FollowLog())

    @handles(_FollowLog)
    def _on_follow_log(self, _: _FollowLog) -> None:
        """Do nothing: it is followed after each message."""

    @handles(RotateIfDue)
    def _on_rotate_if_due(self, _: RotateIfDue) -> None:
        if self._lifecycle.is_running:
            self._timer.look()

    def _tell_myself(self, message: object) -> None:
        with contextlib.suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    # --- subscribers ---

    @handles(messages.Subscribe)
    def subscribe(self, message: messages.Subscribe) -> None:
        """See `Subscribe`."""
        self._lifecycle.require_running()
        self._reader.read()
        self._follow_log()  # what was before is not told
        self._subscriptions.add(message.subscriber)
        self._watch()

    @handles(messages.Unsubscribe)
    def unsubscribe(self, message: messages.Unsubscribe) -> None:
        """See `Unsubscribe`."""
        self._subscriptions.remove(message.subscriber)
        if not self._subscriptions:
            self._stop_watching()

    def _watch(self) -> None:
        if self._end_watch is None:
            self._end_watch = self._parts.log.watch(self._look, self._parts.name)

    def _stop_watching(self) -> None:
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    def _look(self) -> None:
        """Read what is new in the log, in a thread of the log's, and tell subscribers."""
        with contextlib.suppress(KeyturnError):
            self._reader.get()
        self._subscriptions.publish_news()
