"""The part of the session manager that only reads: tokens and history, by messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.replies import Authenticated, TokenReport
from keyturn.actors.supervision import SupervisedActor
from keyturn.actors.transaction import Transaction
from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.tokens import KeySet, SessionToken
from keyturn.projections.history import (
    EVERYTHING,
    HistoryFilter,
    KeyChange,
    RotationHistory,
)


class ReadingActor(SupervisedActor):
    """Answers what needs no change of the log, on the current head or in a transaction.

    Args:
        parts: what the manager is made of.
    """

    def __init__(self, parts: ManagerParts) -> None:
        super().__init__(parts.logger)
        self._parts = parts
        self._tokens = parts.tokens

    def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """See `CreateToken`."""
        return self._tokens.create(expiry, subject, claims, self._keys_of(tran))

    def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """See `VerifyToken`."""
        return self._tokens.verify(token, self._keys_of(tran))

    def authenticate(
        self, token: object, max_age: float | None = None, tran: Transaction | None = None
    ) -> Authenticated:
        """See `Authenticate`."""
        return self._tokens.authenticate(token, max_age, self._keys_of(tran))

    def authenticate_tokens(
        self,
        tokens: Iterable[object],
        max_age: float | None = None,
        tran: Transaction | None = None,
    ) -> list[Authenticated | TokenRefusedError]:
        """See `AuthenticateTokens`."""
        return self._tokens.authenticate_many(tokens, max_age, self._keys_of(tran))

    def create_tokens(
        self,
        count: int,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> list[SessionToken]:
        """See `CreateTokens`."""
        return self._tokens.create_many(count, expiry, subject, claims, self._keys_of(tran))

    def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]:
        """See `VerifyTokens`."""
        return self._tokens.verify_many(tokens, self._keys_of(tran))

    def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken:
        """See `RefreshToken`."""
        return self._tokens.refresh(token, expiry, self._keys_of(tran))

    def inspect_token(self, token: object, at: datetime | None = None) -> TokenReport:
        """See `InspectToken`."""
        return self._parts.inspector.inspect(token, at)

    def read_history(
        self,
        which: HistoryFilter = EVERYTHING,
        newest_first: bool = False,
        after: int | None = None,
        limit: int = 100,
        at: datetime | None = None,
    ) -> tuple[KeyChange, ...]:
        """See `ReadHistory`."""
        history = RotationHistory(self._parts.log, self._parts.name)
        if at is not None:
            change = history.at(at)
            return () if change is None else (change,)
        return tuple(history.changes(which, newest_first=newest_first, after=after, limit=limit))

    def _keys_of(self, tran: Transaction | None) -> KeySet | None:
        if tran is None:
            return None
        tran.require_open(self._parts)
        return tran.key_set
