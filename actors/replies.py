"""What is answered about a token: whose it is, or all that is known of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from keyturn.domain.claims import Claims
from keyturn.domain.errors import Refusal, TokenRefusedError
from keyturn.domain.tokens import host_claims


class Authenticated(msgspec.Struct, frozen=True, gc=False):
    """Whose a good token is.

    Attributes:
        token_claims: all claims of the token, Keyturn's own included.
        generation: of the key that signed it.
    """

    token_claims: Claims
    generation: int

    @property
    def subject(self) -> str:
        """Whose session it is."""
        subject: str = self.token_claims["sub"]
        return subject

    @property
    def sid(self) -> str:
        """The id of the session; a refresh keeps it."""
        sid: str = self.token_claims["sid"]
        return sid

    @property
    def claims(self) -> Claims:
        """The host's own claims."""
        return host_claims(self.token_claims)

    @property
    def issued_at(self) -> datetime:
        """When the token was minted, in UTC."""
        return _moment(self.token_claims["iat"])

    @property
    def expires_at(self) -> datetime | None:
        """When it expires, in UTC; None: never. After the year 9999 it is the end of that."""
        expires_at = self.token_claims.get("exp")
        return None if expires_at is None else _moment(expires_at)

    @property
    def began_at(self) -> datetime:
        """When the session began, in UTC: when its user was authenticated."""
        return _moment(self.token_claims["auth_time"])

    @property
    def token_id(self) -> str:
        """The id of this token (`jti`)."""
        token_id: str = self.token_claims["jti"]
        return token_id


Answer: TypeAlias = Authenticated | TokenRefusedError
"""Whose a token is, or why it is not good."""


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


class TokenReport(msgspec.Struct, frozen=True):
    """What is known of a token.

    Attributes:
        valid: whether it is good.
        refusal: why not; None if it is good.
        generation: of the key that signed it, once its signature was found genuine.
        key_id: the `kid` it names, if it has the shape of a token.
        claims: its claims, once its signature was found genuine.
        revoked_at: when its key or its session ended; None if neither did, as far as is known.
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
