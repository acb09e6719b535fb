"""Every message and its reply: the page to read first.

Send one with `keyturn.ask(ref, message)`, or `await keyturn.ask_async(ref, message)`; both
know the type of the reply. Everything here is frozen, and shows no token when printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from keyturn.config.token_file import ANY_TOKEN, Unconditionally
from keyturn.domain.claims import Claims
from keyturn.domain.errors import Refusal
from keyturn.domain.tokens import SessionKey, SessionToken
from keyturn.projections.history import EVERYTHING, HistoryFilter, KeyChange

if TYPE_CHECKING:
    import pykka

    from keyturn.actors.transaction import Transaction

R_co = TypeVar("R_co", covariant=True)


class Message(Generic[R_co]):
    """A message whose reply has the type `R_co`."""

    __slots__ = ()


# --- to a SessionManager -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetupKey(Message[SessionKey]):
    """Make sure that there is a current key, and reply with it. Changes nothing if there is."""


@dataclass(frozen=True, slots=True)
class CreateToken(Message[SessionToken]):
    """Mint a token, and with it a session.

    Attributes:
        expiry: seconds; None means the manager's default.
        subject: whose session it is; None means the node's.
        claims: the host's own claims.
        tran: an open transaction, whose key it is to see.

    Errors: ExpiryError, ClaimError, SessionManagerNotRunningError.
    """

    expiry: float | None = None
    subject: str | None = None
    claims: Mapping[str, Any] | None = None
    tran: Transaction | None = None


@dataclass(frozen=True, slots=True)
class VerifyToken(Message[bool]):
    """Reply whether this is a good token: False for everything else there is."""

    token: object = field(repr=False)
    tran: Transaction | None = None


@dataclass(frozen=True, slots=True)
class CreateTokens(Message[list[SessionToken]]):
    """Mint many tokens, each of a session of its own, in one turn: alike but for their ids.

    Attributes:
        count: how many: at most 10,000, so that nobody else waits for long.
        expiry: seconds; None means the manager's default.
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


@dataclass(frozen=True, slots=True)
class VerifyTokens(Message[list[bool]]):
    """Reply for each of many whether it is a good token, in their order.

    All are judged by the keys and the time of one moment, at which the message was taken up.

    Attributes:
        tokens: at most 10,000, so that nobody else waits for long; each may be anything.
        tran: an open transaction, whose key they are to see.

    Errors: BatchError: too many, or not a sequence of tokens; never for what a token is.
    """

    tokens: Sequence[object] = field(repr=False)
    tran: Transaction | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken(Message[SessionToken]):
    """Exchange a good token for a new one of the same session.

    `sid`, `auth_time`, subject and the host's claims stay. Check and mint use one snapshot of
    the keys: a token from before a reset never becomes one from after it.

    Errors: TokenRefusedError, with the reason; ExpiryError. To say whether an unknown key is
    one of ours that ended takes a look at the history, and that anybody could ask for:
    `InspectToken` does it.
    """

    token: object = field(repr=False)
    expiry: float | None = None
    tran: Transaction | None = None


@dataclass(frozen=True, slots=True)
class InspectToken(Message["TokenReport"]):
    """Reply with all that is known of a token, good or not.

    Attributes:
        token: anything.
        at: judge it as of this moment (an aware datetime); None: now.
    """

    token: object = field(repr=False)
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReadHistory(Message[tuple[KeyChange, ...]]):
    """Reply with a page of the history of keys: see `RotationHistory.changes`.

    Attributes:
        which: those to show; a `HistoryFilter`.
        newest_first: instead of oldest first.
        behind: the position of the last row of the page before.
        limit: how many rows at the most.
        at: only the change whose key was current at this moment (an aware datetime).
    """

    which: HistoryFilter = EVERYTHING
    newest_first: bool = False
    behind: int | None = None
    limit: int = 100
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ResetKey(Message[None]):
    """Make a new key; every earlier token is refused at once, everywhere.

    Attributes:
        reason: why, for the record: at most 1000 characters.
        initiator: who; None means the manager's default, `user@host`.
        tran: an open transaction, with which it then takes effect.
    """

    reason: str | None = None
    initiator: str | None = None
    tran: Transaction | None = None


@dataclass(frozen=True, slots=True)
class RotateKey(Message[None]):
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


@dataclass(frozen=True, slots=True)
class Start(Message[None]):
    """Start a stopped actor, of either kind. Running, it is an error to give an argument.

    Attributes:
        fresh: a manager resets its key; a session removes the token that is there.
        session_token: for a session: a token to write then.
    """

    fresh: bool = False
    session_token: SessionToken | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Stop(Message[None]):
    """Stop working; either kind of actor. It lives on, and can be started again."""


@dataclass(frozen=True, slots=True)
class Destroy(Message[None]):
    """Destroy a stopped actor.

    A manager ends its keys, for every process on the log. A session removes its token file.

    Attributes:
        purge: a manager also removes all its rows from the log, for good.
    """

    purge: bool = False


@dataclass(frozen=True, slots=True)
class Subscribe(Message[None]):
    """From now on tell `ref` what happens, in order.

    That is every domain event of this manager, by whatever process, and every lifecycle event
    of this actor (`ManagerStarted`, `ManagerStopped`, `ManagerDestroyed`).
    """

    ref: pykka.ActorRef[Any]


@dataclass(frozen=True, slots=True)
class Unsubscribe(Message[None]):
    """Tell `ref` no more."""

    ref: pykka.ActorRef[Any]


@dataclass(frozen=True, slots=True)
class BeginTransaction(Message["Transaction"]):
    """Open a transaction. `keyturn.transaction(ref)` does this and commits at the end."""


@dataclass(frozen=True, slots=True)
class CommitTransaction(Message[None]):
    """Write all of a transaction at once.

    Errors: TransactionConflictError: the log moved meanwhile, and nothing was written.
    """

    tran: Transaction


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What is known of a token.

    Attributes:
        valid: whether it is good.
        refusal: why not; None if it is good.
        generation: of the key that signed it, once its signature was found genuine.
        key_id: the `kid` it names, if it has the shape of a token.
        claims: its claims, once its signature was found genuine.
        revoked_at: when its key ended; None if it is current or in overlap.
        revoked_by: who ended it.
        revoked_because: why, if somebody said so.
    """

    valid: bool
    refusal: Refusal | None = None
    generation: int | None = None
    key_id: str | None = None
    claims: Claims | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    revoked_because: str | None = None


# --- told to subscribers, besides the events of SessionKeys ------------------------------------


@dataclass(frozen=True, slots=True)
class ManagerStarted:
    """The manager of this name runs again."""

    name: str


@dataclass(frozen=True, slots=True)
class ManagerStopped:
    """The manager of this name was stopped."""

    name: str


@dataclass(frozen=True, slots=True)
class ManagerDestroyed:
    """The manager of this name was destroyed here."""

    name: str


# --- to a Session ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadToken(Message[SessionToken | None]):
    """Reply with the token in the file; None if there is none."""


@dataclass(frozen=True, slots=True)
class WriteToken(Message[bool]):
    """Write the token to the file, and reply whether it was written.

    Attributes:
        token: the token.
        replacing: write only if the file still holds this token (None: holds none). So a late
            refresh undoes neither a logout nor another client's newer token.
    """

    token: SessionToken = field(repr=False)
    replacing: SessionToken | None | Unconditionally = field(default=ANY_TOKEN, repr=False)


@dataclass(frozen=True, slots=True)
class ClearToken(Message[None]):
    """Log out here: remove the token file."""
