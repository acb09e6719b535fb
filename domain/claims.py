"""Claims: what a host may put into a token, and what only Keyturn does.

A host's claims are values of JSON, and come out of a token as they were put in: whatever JSON
would change or lose is refused, by the claim's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from keyturn.domain.errors import ClaimError, DurationError, ExpiryError
from keyturn.domain.limits import check_seconds

MAX_OVERLAP = 100 * 366 * 24 * 60 * 60
"""Seconds: 100 years."""

MAX_SUBJECT = 6000
"""Characters: no token has room for more."""

Claims = dict[str, Any]
"""The claims of a token: names, and values of JSON (a host's claims have any)."""

RESERVED_CLAIMS: Final = frozenset(
    {"iss", "sub", "iat", "exp", "nbf", "jti", "sid", "auth_time", "keyturn_pos"}
)
"""The claims that Keyturn writes itself (`nbf`: that it never writes)."""


def check_expiry(expiry: object) -> float | None:
    """Return an expiry in seconds, or None, if it is one.

    Raises:
        ExpiryError: it is not a finite number ≥ 0.
    """
    if expiry is None:
        return None
    try:
        return check_seconds(expiry, "an expiry")
    except DurationError as error:
        raise ExpiryError(str(error)) from error


def check_subject(subject: object) -> str:
    """Return a subject if it can stand in a token."""
    if not isinstance(subject, str) or not subject:
        raise ClaimError("a subject is text and not empty", claim="sub")
    if len(subject) > MAX_SUBJECT:
        raise ClaimError(f"a subject has at most {MAX_SUBJECT} characters", claim="sub")
    _check_value(subject, "sub")
    return subject


def check_claims(claims: object) -> Claims | None:
    """Return a host's own claims if they can stand in a token.

    Raises:
        ClaimError: one is reserved, or is not a value of JSON; `claim` names it.
    """
    if claims is None:
        return None
    if not isinstance(claims, Mapping):
        raise ClaimError(f"claims are a mapping, not a {type(claims).__name__}")
    for name, value in claims.items():
        if not isinstance(name, str):
            raise ClaimError(f"a claim's name is text, not a {type(name).__name__}")
        if name in RESERVED_CLAIMS:
            hint = ": use the argument `subject`" if name == "sub" else ": choose another name"
            raise ClaimError(f"the claim {name!r} is Keyturn's own{hint}", claim=name)
        _check_value(name, name)
        _check_value(value, name)
    return dict(claims)


def _check_value(value: object, claim: str, depth: int = 0) -> None:  # noqa: PLR0912
    """Refuse what JSON would change or lose: tuples, int keys, NaN, lone surrogates."""
    if depth > 16:
        raise ClaimError(f"the claim {claim!r} is nested too deeply", claim=claim)
    if value is None or isinstance(value, bool):
        return
    if type(value) is str:
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ClaimError(f"the claim {claim!r} is not valid Unicode text", claim=claim)
    elif type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise ClaimError(f"the claim {claim!r} has a number of over 64 bits", claim=claim)
    elif type(value) is float:
        if not isfinite(value):
            raise ClaimError(f"the claim {claim!r} has a number that is not finite", claim=claim)
    elif type(value) is list:
        for item in value:
            _check_value(item, claim, depth + 1)
    elif type(value) is dict:
        for name, item in value.items():
            if type(name) is not str:
                raise ClaimError(f"the claim {claim!r} has a key that is not text", claim=claim)
            _check_value(name, claim, depth + 1)
            _check_value(item, claim, depth + 1)
    else:
        kind = type(value).__name__
        raise ClaimError(f"the claim {claim!r} has a {kind}, which JSON has not", claim=claim)


def check_overlap(overlap: object) -> int:
    """Return an overlap in seconds if it is one.

    Raises:
        ExpiryError: it is not a whole number from 0 to `MAX_OVERLAP`.
    """
    if type(overlap) is not int or not 0 <= overlap <= MAX_OVERLAP:
        raise ExpiryError(
            f"an overlap is a whole number of seconds, from 0 to {MAX_OVERLAP} (100 years)"
        )
    return overlap
