"""What a test expects of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from keyturn.actors.replies import TokenReport
from keyturn.domain.tokens import host_claims
from keyturn.service import Service


class Token(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
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
        f"  ?   {name}: expected {wanted!r}, was {getattr(found, name)!r}"
        for name in expected.__struct_fields__
        if (wanted := getattr(expected, name)) not in (UNSET, getattr(found, name))
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
