"""What a test expects of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from msgspec import UNSET, UnsetType

from keyturn.actors.replies import TokenReport
from keyturn.domain.tokens import host_claims
from keyturn.service import Service


@dataclass(frozen=True, repr=False, kw_only=True)
class Token:
    """A good token, as a reply. Only what it names is compared.

    Attributes:
        subject: whose session it is.
        sid: of its session.
        expiry: whole seconds that it lives from its issue on; None: for ever.
        generation: of the key that signed it.
        claims: the host's own, all of them.
    """

    subject: str | UnsetType = UNSET
    sid: str | UnsetType = UNSET
    expiry: int | None | UnsetType = UNSET
    generation: int | UnsetType = UNSET
    claims: Mapping[str, Any] | UnsetType = UNSET

    def __repr__(self) -> str:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        named = [f"{name}={value!r}" for name, value in values if value is not UNSET]
        return f"Token({', '.join(named)})"


def differences(expected: object, reply: object, service: Service) -> list[str]:
    """Return no line if a reply is as expected, else lines that say in what it is not."""
    if not isinstance(expected, Token):
        return (
            [] if reply == expected else [f"  - replies {expected!r}", f"  + replies {reply!r}"]
        )
    report = service.inspect_token(reply)
    if not report.valid:
        reason = "" if report.refusal is None else report.refusal.value
        return [f"  - replies {expected!r}", f"  + replies what is no good token: {reason}"]
    found = _token_of(report)
    lines = [
        f"  ?   {field.name}: expected {wanted!r}, was {getattr(found, field.name)!r}"
        for field in fields(expected)
        if (wanted := getattr(expected, field.name)) not in (UNSET, getattr(found, field.name))
    ]
    return [f"  - replies {expected!r}", f"  + replies {found!r}", *lines] if lines else []


def _token_of(report: TokenReport) -> Token:
    claims = dict(report.claims or {})
    expires_at = claims.get("exp")
    return Token(
        subject=claims["sub"],
        sid=claims["sid"],
        expiry=None if expires_at is None else expires_at - claims["iat"],
        generation=report.generation if report.generation is not None else UNSET,
        claims=host_claims(claims),
    )
