"""Making and checking tokens, as plain methods.

They run in the caller's thread, on the current head or on what a transaction sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from keyturn.actors.manager_parts import ManagerParts
from keyturn.actors.replies import Authenticated, TokenReport
from keyturn.actors.transaction import Transaction, keys_seen
from keyturn.domain.errors import TokenRefusedError
from keyturn.domain.tokens import SessionToken


class TokenMethods:
    """What a service does with tokens.

    Args:
        parts: what the manager is made of.
    """

    def __init__(self, parts: ManagerParts) -> None:
        self._parts = parts
        self._tokens = parts.tokens

    def create_token(
        self,
        expiry: float | None = None,
        subject: str | None = None,
        claims: Mapping[str, Any] | None = None,
        tran: Transaction | None = None,
    ) -> SessionToken:
        """Return a new token, of a new session.

        Args:
            expiry: seconds; None: the manager's default. Tokens for ever take a manager whose
                default is None (`open(expiry=None)`).
            subject: whose session it is; None: the node's.
            claims: the host's own claims.
            tran: an open transaction, whose key it is to see.

        Raises:
            ExpiryError: the expiry is not a finite number of seconds ≥ 0.
            ClaimError: a claim is reserved, or is no value of JSON.
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        return self._tokens.create(expiry, subject, claims, keys_seen(tran, self._parts))

    def verify_token(self, token: object, tran: Transaction | None = None) -> bool:
        """Return whether `token` is a good token; False for everything else there is.

        Args:
            token: anything.
            tran: an open transaction, whose key it is to see.

        Raises:
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        return self._tokens.verify(token, keys_seen(tran, self._parts))

    def authenticate(
        self, token: object, max_age: float | None = None, tran: Transaction | None = None
    ) -> Authenticated:
        """Return whose token it is, if it is a good one.

        Args:
            token: anything.
            max_age: seconds since the session began, at most; None: however long ago that was.
            tran: an open transaction, whose key and ended sessions it is to see.

        Raises:
            TokenRefusedError: the token is not good; `reason` says why.
            DurationError: `max_age` is no number of seconds.
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        return self._tokens.authenticate(token, max_age, keys_seen(tran, self._parts))

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
        return self._tokens.create_many(
            count, expiry, subject, claims, keys_seen(tran, self._parts)
        )

    def verify_tokens(
        self, tokens: Iterable[object], tran: Transaction | None = None
    ) -> list[bool]:
        """Return for each of many whether it is a good token, in their order.

        All are judged by the keys of one moment: that of this call. So it is quicker than to
        verify one after the other, and a reset meanwhile is for the next call.

        Args:
            tokens: at most 10,000; each may be anything.
            tran: an open transaction, whose key they are to see.

        Raises:
            BatchError: these are too many, or it is a single token or no list at all.
        """
        return self._tokens.verify_many(tokens, keys_seen(tran, self._parts))

    def authenticate_tokens(
        self,
        tokens: Iterable[object],
        max_age: float | None = None,
        tran: Transaction | None = None,
    ) -> list[Authenticated | TokenRefusedError]:
        """Return for each of many tokens whose it is, or the error that says why it is not good.

        Args:
            tokens: at most 10,000; each may be anything.
            max_age: seconds since each session began, at most; None: however long ago that was.
            tran: an open transaction, whose key and ended sessions it is to see.

        Raises:
            BatchError: these are too many, or it is a single token or no list at all.
            DurationError: `max_age` is no number of seconds.
        """
        return self._tokens.authenticate_many(tokens, max_age, keys_seen(tran, self._parts))

    def refresh_token(
        self, token: object, expiry: float | None = None, tran: Transaction | None = None
    ) -> SessionToken:
        """Return a new token of the same session.

        Args:
            token: a good token.
            expiry: seconds from now; None: as long as the old token was to live.
            tran: an open transaction, whose key it is to see.

        Raises:
            TokenRefusedError: the token is not good; `reason` says why.
            ExpiryError: the expiry is not a finite number of seconds ≥ 0.
        """
        return self._tokens.refresh(token, expiry, keys_seen(tran, self._parts))

    def inspect_token(self, token: object, at: datetime | None = None) -> TokenReport:
        """Return all that is known of a token, good or not.

        Args:
            token: anything.
            at: judge it as of this moment (an aware datetime); None: now.

        Raises:
            FilterError: the moment is in no time zone.
            SessionManagerNotRunningError: the manager was stopped or destroyed.
            LogError: the log cannot be read, or is not to be trusted.
        """
        return self._parts.inspector.inspect(token, at)
