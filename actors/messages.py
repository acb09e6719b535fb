"""Every message and its reply: the page to read first.

Send one with `keyturn.ask(ref, message)`, or `await keyturn.ask_async(ref, message)`; both
know the type of the reply. Everything here is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from keyturn.actors.replies import Answer, Authenticated, TokenReport
from keyturn.actors.transaction import Transaction
from keyturn.config.token_file import ANY_TOKEN, Unconditionally
from keyturn.domain.tokens import SessionKey, SessionToken
from keyturn.projections.history import EVERYTHING, HistoryFilter, KeyChange

if TYPE_CHECKING:
    import pykka

R_co = TypeVar("R_co", covariant=True)


Subscriber: TypeAlias = "pykka.ActorRef[Any] | Callable[[Any], object]"
"""An actor, or a function that is called."""


class Message(Generic[R_co]):
    """A message whose reply has the type `R_co`.

    `changes`: handling it may change the log or a file, so it is not simply sent again.
    """

    __slots__ = ()

    changes: ClassVar[bool] = False


_SECRET = frozenset({"token", "tokens", "session_token", "replacing", "keep"})
"""The fields that hold tokens."""


class FrozenMessage(msgspec.Struct, Message[R_co], Generic[R_co], frozen=True):
    """A message that never changes, and shows no token when printed."""

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        shown = (f"{n}={v!r}" for n, v in values.items() if n not in _SECRET and v is not None)
        return f"{type(self).__name__}({', '.join(shown)})"


class Change(FrozenMessage[R_co], Generic[R_co], frozen=True):
    """A message that may change the log or a file."""

    changes: ClassVar[bool] = True


# --- to a SessionManager -----------------------------------------------------------------------


class SetupKey(Change[SessionKey], frozen=True):
    """Make sure that there is a current key, and reply with it. Changes nothing if there is."""


class CreateToken(FrozenMessage[SessionToken], frozen=True):
    """Mint a token, and with it a session.

    Attributes:
        expiry: seconds; None means the manager's default. Tokens for ever take a manager whose
            default is None.
        subject: whose session it is; None means the node's.
        claims: the host's own claims.
        tran: an open transaction, whose key it is to see.

    Errors: ExpiryError, ClaimError, SessionManagerNotRunningError.
    """

    expiry: float | None = None
    subject: str | None = None
    claims: Mapping[str, Any] | None = None
    tran: Transaction | None = None


class VerifyToken(FrozenMessage[bool], frozen=True):
    """Reply whether this is a good token: False for everything else there is."""

    token: object
    tran: Transaction | None = None


class CreateTokens(FrozenMessage[list[SessionToken]], frozen=True):
    """Mint many tokens, each of a session of its own, in one turn: alike but for their ids.

    Attributes:
        count: how many: at most 10,000, so that nobody else waits for long.
        expiry: seconds; None means the manager's default. Tokens for ever take a manager whose
            default is None.
        subject: whose sessions they are; None means the node's.
        claims: the host's own claims, the same in each.
        tran: an open transaction, whose key they are to see.

    Errors: BatchError; those of `CreateToken`.
    """

    count: int
    expiry: float | None = None
    subject: str | None = None
    claims: Mapping[str, Any] | None = None
    tran: Transaction | None = None


class VerifyTokens(FrozenMessage[list[bool]], frozen=True):
    """Reply for each of many whether it is a good token, in their order.

    All are judged by the keys and the time of one moment, at which the message was taken up.

    Attributes:
        tokens: at most 10,000, so that nobody else waits for long; each may be anything.
        tran: an open transaction, whose key they are to see.

    Errors: BatchError: too many, or not a sequence of tokens; never for what a token is.
    """

    tokens: Sequence[object]
    tran: Transaction | None = None


class Authenticate(FrozenMessage[Authenticated], frozen=True):
    """Reply with whose token it is, if it is a good one.

    Attributes:
        token: anything.
        max_age: seconds since the session began, at most; None: however long ago that was.
        tran: an open transaction, whose key and ended sessions it is to see.

    Errors: TokenRefusedError, with the reason; DurationError: `max_age` is no number of seconds.
    """

    token: object
    max_age: float | None = None
    tran: Transaction | None = None


class AuthenticateTokens(FrozenMessage[list[Answer]], frozen=True):
    """Reply for each of many tokens whose it is, or with the error that says why it is not good.

    All are judged by the keys of one moment, at which the message was taken up.

    Attributes:
        tokens: at most 10,000, so that nobody else waits for long; each may be anything.
        max_age: seconds since each session began, at most; None: however long ago that was.
        tran: an open transaction, whose key and ended sessions it is to see.

    Errors: BatchError: too many, or not a sequence of tokens; DurationError; never for what a
    token is.
    """

    tokens: Sequence[object]
    max_age: float | None = None
    tran: Transaction | None = None


class RefreshToken(FrozenMessage[SessionToken], frozen=True):
    """Exchange a good token for a new one of the same session.

    The sid, the time of authentication, subject and the host's claims stay. Check and mint use
    the keys of one moment: a token from before a reset never becomes one from after it.

    Attributes:
        token: anything.
        expiry: seconds from now; None: as long as the old token was to live.
        tran: an open transaction, whose key it is to see.

    Errors: TokenRefusedError, with the reason; ExpiryError. To say whether an unknown key is
    one of ours that ended takes a look at the history, and that anybody could ask for:
    `InspectToken` does it.
    """

    token: object
    expiry: float | None = None
    tran: Transaction | None = None


class InspectToken(FrozenMessage[TokenReport], frozen=True):
    """Reply with all that is known of a token, good or not.

    Attributes:
        token: anything.
        at: judge it as of this moment (an aware datetime); None: now.
    """

    token: object
    at: datetime | None = None


class ReadHistory(FrozenMessage[tuple[KeyChange, ...]], frozen=True):
    """Reply with a page of the history of keys: see `RotationHistory.changes`.

    Attributes:
        which: those to show; a `HistoryFilter`.
        newest_first: instead of oldest first.
        after: the position of the last row of the page before.
        limit: how many rows at the most.
        at: only the change whose key was current at this moment (an aware datetime).
    """

    which: HistoryFilter = EVERYTHING
    newest_first: bool = False
    after: int | None = None
    limit: int = 100
    at: datetime | None = None


class ResetKey(Change[None], frozen=True):
    """Make a new key; every earlier token is refused at once, everywhere.

    Attributes:
        reason: why, for the record: at most 1000 characters.
        initiator: who; None means the manager's default, `user@host`.
        tran: an open transaction, with which it then takes effect.
    """

    reason: str | None = None
    initiator: str | None = None
    tran: Transaction | None = None


class RotateKey(Change[None], frozen=True):
    """Make a new key; tokens under the one before stay good until an overlap ends.

    New tokens, refreshed ones too, are under the new key. A reset in between ends all others
    at once.

    Attributes:
        overlap: whole seconds from now on.
        reason: why, for the record: at most 1000 characters.
        initiator: who; None means the manager's default, `user@host`.

    Errors: ExpiryError; OverlapLimitError: too many keys would overlap.
    """

    overlap: int
    reason: str | None = None
    initiator: str | None = None


class EndSession(Change[bool], frozen=True):
    """End a session: its token and all that it was or is refreshed to are refused, everywhere.

    By token: it must be genuine, under a key that is still good; whether it has expired does not
    matter. By sid: the caller's word is taken that there is such a session. Reply whether an end
    was recorded; False: there was nothing to end.

    Attributes:
        token: a token of the session; or
        sid: its id.
        reason: why, for the record: at most 1000 characters.
        initiator: who; None means the manager's default, `user@host`.
        tran: an open transaction, with which it then takes effect.

    Errors: SessionArgumentError: neither or both of token and sid, or a sid that cannot be one.
    """

    token: object = None
    sid: str | None = None
    reason: str | None = None
    initiator: str | None = None
    tran: Transaction | None = None


class EndSessions(Change[int], frozen=True):
    """End all sessions of a subject that have begun, or those of some sids, in one commit.

    Sessions that begin after this is recorded are not ended, whatever the clocks say. Reply how
    many ends were recorded: 1 for a subject, whatever sessions it has.

    Attributes:
        subject: whose; or
        keep: with it, a good token of that subject, or a sid: this session goes on.
        sids: up to 10,000 ids of sessions. The caller's word is taken that there are such.
        reason: why, for the record: at most 1000 characters.
        initiator: who; None means the manager's default, `user@host`.
        tran: an open transaction, with which it then takes effect.

    Errors: ClaimError: the subject cannot be one. SessionArgumentError: neither or both of
    subject and sids; `keep` is a token that is not good or is another subject's; a sid that
    cannot be one.
    """

    subject: str | None = None
    keep: str | None = None
    sids: Sequence[str] | None = None
    reason: str | None = None
    initiator: str | None = None
    tran: Transaction | None = None


class Start(Change[None], frozen=True):
    """Start a stopped actor, of either kind. Running, it is an error to give an argument.

    Attributes:
        fresh: a manager resets its key; a session removes the token that is there.
        session_token: for a session: a token to write then.
    """

    fresh: bool = False
    session_token: SessionToken | None = None


class Stop(Change[None], frozen=True):
    """Stop working; either kind of actor. It lives on, and can be started again."""


class Destroy(Change[None], frozen=True):
    """Destroy a stopped actor.

    A manager ends its keys, for every process on the log. A session removes its token file.

    Attributes:
        purge: a manager also removes its history from the log, for good; what stays is one
            event that says so.
        reason: why, for the record: at most 1000 characters. Of a manager only.
        initiator: who; None means the manager's default, `user@host`. Of a manager only.
    """

    purge: bool = False
    reason: str | None = None
    initiator: str | None = None


class Subscribe(FrozenMessage[None], frozen=True):
    """From now on tell a subscriber what happens, in order.

    That is every domain event of this manager, by whatever process, every lifecycle event of
    this actor (`ManagerStarted`, `ManagerStopped`, `ManagerDestroyed`), and the end of each
    overlap (`OverlapEnded`).

    Attributes:
        subscriber: an actor, which is told; or a function, which is called with each event, in
            a thread of its own kind: it may call any method.
    """

    subscriber: Subscriber


class Unsubscribe(FrozenMessage[None], frozen=True):
    """Tell a subscriber no more."""

    subscriber: Subscriber


class BeginTransaction(FrozenMessage["Transaction"], frozen=True):
    """Open a transaction. `keyturn.transaction(ref)` does this and commits at the end."""


class CommitTransaction(Change[None], frozen=True):
    """Write all of a transaction at once.

    Errors: TransactionConflictError: the log moved meanwhile, and nothing was written.
    """

    tran: Transaction


# --- told to subscribers, besides the events of SessionKeys ------------------------------------


class ManagerStarted(msgspec.Struct, frozen=True):
    """The manager of this name runs again."""

    name: str


class ManagerStopped(msgspec.Struct, frozen=True):
    """The manager of this name was stopped."""

    name: str


class ManagerDestroyed(msgspec.Struct, frozen=True):
    """The manager of this name was destroyed here."""

    name: str


class OverlapEnded(msgspec.Struct, frozen=True):
    """The overlap of a key has ended: its tokens are refused from now on."""

    name: str
    generation: int
    key_id: str


# --- to a Session ------------------------------------------------------------------------------


class ReadToken(FrozenMessage[SessionToken | None], frozen=True):
    """Reply with the token in the file; None if there is none.

    Errors: TokenFileError: the file cannot be read, or holds no token.
    """


class WriteToken(Change[bool], frozen=True):
    """Write the token to the file, and reply whether it was written.

    Attributes:
        token: the token.
        replacing: write only if the file still holds this token (None: holds none). So a late
            refresh undoes neither a logout nor another client's newer token.

    Errors: TokenFileError: the file cannot be written.
    """

    token: SessionToken
    replacing: SessionToken | None | Unconditionally = ANY_TOKEN


class ClearToken(Change[None], frozen=True):
    """Log out here: remove the token file."""
