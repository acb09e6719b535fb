"""The session manager: the actor that owns a manager's stream, and is its only writer here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import pykka
from msgspec import UNSET, UnsetType

from keyturn.actors import messages
from keyturn.actors.ended_watch import EndedSessionsWatch
from keyturn.actors.key_writer import KeyWriter, new_secret
from keyturn.actors.lifecycle import Status
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.reading_actor import ReadingActor
from keyturn.actors.rotation_timer import RotateIfDue, RotationTimer
from keyturn.actors.supervision import calling
from keyturn.actors.ticker import Ticker, process_ticker
from keyturn.actors.transaction import Transaction
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
from keyturn.domain.head import Head
from keyturn.domain.key_log import KeyLog
from keyturn.domain.key_ring import KeyRingLike
from keyturn.domain.options import ManagerOptions
from keyturn.domain.session_keys import SessionKeys
from keyturn.domain.tokens import KeySet, SessionKey


class _HeadMoved:
    """Told by the thread that read newer events."""


class SessionManager(ReadingActor):
    """Creates, verifies and revokes session tokens.

    Start it with `SessionManager.start(…)`, which returns its `ActorRef` and raises what goes
    wrong. Send it the messages of `keyturn.actors.messages`, or call its methods through
    `ref.proxy()`; there `Start` and `Stop` are `resume` and `suspend`, since `start` and `stop`
    are pykka's own.

    Args:
        parts: what it is made of.
        fresh: reset the key at once.
        accept_rollback: take a log that is not the one seen before as it is, and reset the key.
        trust_log: take a log that was never seen before as it is.
        may_generate: make new keys if there are none, or they were destroyed; otherwise that is
            an error.
        ticker: has the age of the key looked at; None: nobody does, but for `RotateIfDue`.
    """

    def __init__(
        self,
        parts: ManagerParts,
        *,
        fresh: bool = False,
        accept_rollback: bool = False,
        trust_log: bool = False,
        may_generate: bool = True,
        ticker: Ticker | None = process_ticker,
    ) -> None:
        super().__init__(parts)
        self._lifecycle = parts.lifecycle
        self._reader = parts.reader
        self._subscriptions = parts.subscriptions
        self._writer = KeyWriter(parts)
        self._timer = RotationTimer(parts, self._writer, ticker, self._tell_myself)
        self._ended = EndedSessionsWatch(parts.logger)
        self._end_watch: Callable[[], None] | None = None
        self._is_told_of_head = False
        # Here and not in on_start, whose errors pykka logs and keeps to itself.
        head = self._writer.begin(
            fresh=fresh,
            accept_rollback=accept_rollback,
            trust_log=trust_log,
            may_generate=may_generate,
        )
        self._see(head)
        if self._lifecycle.is_running:
            self._timer.start()
        self._subscriptions.on_news = self._note_news
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
        parts = ManagerParts.of(log, key_ring, options, anchor=anchor, clock=clock, logger=logger)
        return cls.start_on(
            parts,
            fresh=fresh,
            accept_rollback=accept_rollback,
            trust_log=trust_log,
            ticker=ticker,
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

    def setup_key(self) -> SessionKey:
        """See `SetupKey`."""
        self._lifecycle.require_running()
        keys = self._reader.read().keys
        return SessionKey(keys.generation, keys.key_id, keys.unseal(self._parts.key_ring))

    def reset_key(
        self,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> None:
        """See `ResetKey`."""
        self._change(
            # The time is that of the attempt: after a conflict an earlier one would seem to be
            # that of a clock that was set back.
            lambda keys: keys.reset(
                new_secret(), self._parts.key_ring, self._writer.by(initiator, reason)
            ),
            tran,
        )

    def rotate_key(
        self, overlap: int, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """See `RotateKey`."""
        self._change(
            lambda keys: keys.rotate(
                new_secret(),
                self._parts.key_ring,
                self._writer.by(initiator, reason),
                overlap=overlap,
            )
        )

    def end_session(
        self,
        token: object = None,
        sid: str | None = None,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> bool:
        """See `EndSession`."""
        if (token is None) == (sid is None):
            raise SessionArgumentError("give a token of the session, or its sid: one of the two")
        sids = None if sid is None else check_sids([sid])
        return self._end(sids, token, reason, initiator, tran) > 0

    def end_sessions(
        self,
        subject: str | None = None,
        keep: str | None = None,
        sids: Sequence[str] | None = None,
        reason: str | None = None,
        initiator: str | None = None,
        tran: Transaction | None = None,
    ) -> int:
        """See `EndSessions`."""
        if (subject is None) == (sids is None) or (keep is not None and subject is None):
            raise SessionArgumentError(
                "give a subject, and maybe what to keep, or sids: one of the two"
            )
        if sids is not None:
            return self._end(check_sids(sids), None, reason, initiator, tran)
        checked = check_subject(subject)

        def change(keys: SessionKeys) -> None:
            keep_sid = None if keep is None else self._sid_to_keep(keep, checked, tran)
            by = self._writer.by(initiator, reason)
            keys.end_sessions(checked, self._parts.key_ring, by, keep=keep_sid)

        self._change(change, tran)
        return 1

    def _end(
        self,
        sids: Sequence[str] | None,
        token: object,
        reason: str | None,
        initiator: str | None,
        tran: Transaction | None,
    ) -> int:
        """End the sessions of these sids, or that of a token; return how many ends it took."""
        count = 0

        def change(keys: SessionKeys) -> None:
            nonlocal count
            count = 0
            key_ring, by = self._parts.key_ring, self._writer.by(initiator, reason)
            if sids is None:
                found = self._tokens.session_of(token, self._newest_keys(tran))
                if found is None or keys.ended.covers(found.sid, found.subject, found.began):
                    return
                keys.end_session(found.sid, key_ring, by, subject=found.subject)
                count = 1
                return
            for sid in dict.fromkeys(sids):
                if not keys.ended.has_sid(sid):
                    keys.end_session(sid, key_ring, by)
                    count += 1

        self._change(change, tran)
        return count

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
        return self._keys_of(tran) or self._reader.read().key_set

    def _change(
        self, command: Callable[[SessionKeys], None], tran: Transaction | None = None
    ) -> None:
        """Carry out a command at once, or on what a transaction will write."""
        self._lifecycle.require_running()
        if tran is None:
            self._see(self._writer.write(command))
            return
        tran.require_open(self._parts)
        tran.carry_out(command, self._parts.key_ring)

    # --- transactions ---

    def begin_transaction(self) -> Transaction:
        """See `BeginTransaction`."""
        self._lifecycle.require_running()
        return Transaction(self._parts, self._reader.read())

    def commit_transaction(self, tran: Transaction) -> None:
        """See `CommitTransaction`."""
        self._lifecycle.require_running()
        tran.require_open(self._parts)
        tran.close()
        self._see(self._writer.commit(tran.keys, tran.aggregates))

    # --- lifecycle ---

    def resume(self, fresh: bool = False) -> None:
        """See `Start`."""
        if self._lifecycle.should_start(with_arguments=fresh):
            self._see(self._writer.begin(fresh=fresh, may_generate=False))
            self._lifecycle.status = Status.RUNNING
            self._timer.start()
            self._subscriptions.publish(messages.ManagerStarted(self._parts.name))

    def suspend(self) -> None:
        """See `Stop`."""
        if self._lifecycle.is_running:
            self._timer.stop()
            self._lifecycle.status = Status.STOPPED
            self._look()
            self._subscriptions.publish(messages.ManagerStopped(self._parts.name))

    def destroy(
        self, purge: bool = False, reason: str | None = None, initiator: str | None = None
    ) -> None:
        """See `Destroy`."""
        is_new = self._lifecycle.should_destroy()
        if is_new or purge:
            self._writer.destroy(initiator, reason, purge=purge, only_if_destroyed=not is_new)
        if is_new:
            self._lifecycle.status = Status.DESTROYED
            self._subscriptions.publish(messages.ManagerDestroyed(self._parts.name))

    def recover(self) -> None:
        """Read the log anew (in the actor's thread, after a bug)."""
        self._reader.forget_changes()

    def on_stop(self) -> None:
        """Stop watching log and clock (in the actor's thread, as its last act)."""
        self._stop_watching()
        self._timer.stop()
        super().on_stop()

    # --- subscribers ---

    def subscribe(self, subscriber: object) -> None:
        """See `Subscribe`."""
        self._lifecycle.require_running()
        self._see(self._reader.read())  # what was before is not told
        self._subscriptions.add(subscriber)
        self._watch()

    def unsubscribe(self, subscriber: object) -> None:
        """See `Unsubscribe`."""
        self._subscriptions.remove(subscriber)
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
        """Read what is new in the log, from whatever thread, and tell subscribers."""
        with contextlib.suppress(KeyturnError):  # the next use of the log raises it
            self._reader.get()
        self._subscriptions.publish_news()

    def _note_news(self) -> None:
        """Have the actor take notice of events that were read, in whatever thread."""
        if not self._is_told_of_head:
            self._is_told_of_head = True
            self._tell_myself(_HeadMoved())

    def _head_moved(self) -> None:
        """Take notice of what another process wrote: the anchor follows."""
        self._is_told_of_head = False
        with contextlib.suppress(KeyturnError):
            head = self._reader.get()
            self._see(head)
            self._writer.note_head(head)

    def _see(self, head: Head) -> None:
        """Take notice of a head that was read in the actor's thread, and tell what is new."""
        self._timer.see(head)
        self._ended.see(head)
        self._subscriptions.publish_news()

    def _tell_myself(self, message: object) -> None:
        with contextlib.suppress(pykka.ActorDeadError):
            self.actor_ref.tell(message)

    def _on_start_message(self, message: messages.Start) -> None:
        if message.session_token is not None:
            raise UnknownMessageError("a SessionManager takes no session token: a Session does")
        self.resume(message.fresh)

    def _on_head_moved(self, message: _HeadMoved) -> None:  # noqa: ARG002 - as handlers are
        self._head_moved()

    def _on_rotate_if_due(self, message: RotateIfDue) -> None:  # noqa: ARG002 - as handlers are
        if self._lifecycle.is_running:
            self._timer.look()

    handlers: ClassVar = {
        **{
            message: calling(message, method)
            for message, method in (
                (messages.SetupKey, setup_key),
                (messages.CreateToken, ReadingActor.create_token),
                (messages.VerifyToken, ReadingActor.verify_token),
                (messages.Authenticate, ReadingActor.authenticate),
                (messages.AuthenticateTokens, ReadingActor.authenticate_tokens),
                (messages.CreateTokens, ReadingActor.create_tokens),
                (messages.VerifyTokens, ReadingActor.verify_tokens),
                (messages.RefreshToken, ReadingActor.refresh_token),
                (messages.InspectToken, ReadingActor.inspect_token),
                (messages.ReadHistory, ReadingActor.read_history),
                (messages.ResetKey, reset_key),
                (messages.RotateKey, rotate_key),
                (messages.EndSession, end_session),
                (messages.EndSessions, end_sessions),
                (messages.Stop, suspend),
                (messages.Destroy, destroy),
                (messages.Subscribe, subscribe),
                (messages.Unsubscribe, unsubscribe),
                (messages.BeginTransaction, begin_transaction),
                (messages.CommitTransaction, commit_transaction),
            )
        },
        messages.Start: _on_start_message,
        RotateIfDue: _on_rotate_if_due,
        _HeadMoved: _on_head_moved,
    }
