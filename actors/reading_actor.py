"""The part of the session manager that only reads: tokens and history, by messages."""

from __future__ import annotations

from keyturn.actors import messages
from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.replies import Answer, Authenticated, TokenReport
from keyturn.actors.supervision import SupervisedActor, handles
from keyturn.actors.transaction import keys_seen
from keyturn.domain.tokens import SessionToken
from keyturn.projections.history import KeyChange, RotationHistory


class ReadingActor(SupervisedActor):
    """Answers what needs no change of the log, on the current head or in a transaction.

    Args:
        parts: what the manager is made of.
    """

    def __init__(self, parts: ManagerParts) -> None:
        super().__init__(parts.logger)
        self._parts = parts
        self._tokens = parts.tokens

    @handles(messages.CreateToken)
    def create_token(self, message: messages.CreateToken) -> SessionToken:
        """See `CreateToken`."""
        keys = keys_seen(message.tran, self._parts)
        return self._tokens.create(message.expiry, message.subject, message.claims, keys)

    @handles(messages.CreateTokens)
    def create_tokens(self, message: messages.CreateTokens) -> list[SessionToken]:
        """See `CreateTokens`."""
        return self._tokens.create_many(
            message.count,
            message.expiry,
            message.subject,
            message.claims,
            keys_seen(message.tran, self._parts),
        )

    @handles(messages.VerifyToken)
    def verify_token(self, message: messages.VerifyToken) -> bool:
        """See `VerifyToken`."""
        return self._tokens.verify(message.token, keys_seen(message.tran, self._parts))

    @handles(messages.VerifyTokens)
    def verify_tokens(self, message: messages.VerifyTokens) -> list[bool]:
        """See `VerifyTokens`."""
        return self._tokens.verify_many(message.tokens, keys_seen(message.tran, self._parts))

    @handles(messages.Authenticate)
    def authenticate(self, message: messages.Authenticate) -> Authenticated:
        """See `Authenticate`."""
        keys = keys_seen(message.tran, self._parts)
        return self._tokens.authenticate(message.token, message.max_age, keys)

    @handles(messages.AuthenticateTokens)
    def authenticate_tokens(self, message: messages.AuthenticateTokens) -> list[Answer]:
        """See `AuthenticateTokens`."""
        keys = keys_seen(message.tran, self._parts)
        return self._tokens.authenticate_many(message.tokens, message.max_age, keys)

    @handles(messages.RefreshToken)
    def refresh_token(self, message: messages.RefreshToken) -> SessionToken:
        """See `RefreshToken`."""
        keys = keys_seen(message.tran, self._parts)
        return self._tokens.refresh(message.token, message.expiry, keys)

    @handles(messages.InspectToken)
    def inspect_token(self, message: messages.InspectToken) -> TokenReport:
        """See `InspectToken`."""
        return self._parts.inspector.inspect(message.token, message.at)

    @handles(messages.ReadHistory)
    def read_history(self, message: messages.ReadHistory) -> tuple[KeyChange, ...]:
        """See `ReadHistory`."""
        history = RotationHistory(self._parts.log, self._parts.name)
        if message.at is not None:
            change = history.at(message.at)
            return () if change is None else (change,)
        return tuple(
            history.changes(
                message.which,
                newest_first=message.newest_first,
                after=message.after,
                limit=message.limit,
            )
        )
