"""When a token is refreshed, and the header in which the new one travels."""

from __future__ import annotations

from keyturn.actors.replies import Authenticated

REFRESHED_TOKEN = "Refreshed-Token"  # noqa: S105 - the name of a header
"""The response header with the new token, for a client that sent the old one as Bearer."""


def is_due(who: Authenticated, now: float, refresh_below: float) -> bool:
    """Return whether less than a share of a token's life is left.

    Args:
        who: whose token it is.
        now: seconds since the epoch.
        refresh_below: the share, from 0 to 1.
    """
    expires_at = who.token_claims.get("exp")
    if expires_at is None:
        return False
    life: int = expires_at - who.token_claims["iat"]
    left: float = expires_at - now
    return left < life * refresh_below
