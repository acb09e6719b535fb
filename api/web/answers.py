"""How a request is refused: the errors of RFC 6750 (bearer tokens) and RFC 9470 (step-up).

No answer holds a token, and none may be stored by a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from keyturn.domain.errors import KeyturnError, Refusal

RETRY_AFTER = 5
"""Seconds after which a client may ask again when the log could not be read."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A response.

    Attributes:
        status: of HTTP.
        error: a code for programs.
        description: what was wrong, for people; printable ASCII.
        headers: besides those of the body.
    """

    status: int
    error: str
    description: str
    headers: Mapping[str, str]

    @property
    def body(self) -> bytes:
        """The error in JSON, as OAuth answers look."""
        return msgspec.json.encode({"error": self.error, "error_description": self.description})

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """The headers with those of the body."""
        return [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            *self.headers.items(),
        ]


class RequestRefusedError(KeyturnError):
    """A request is not let through. `answer` is the response to give."""

    def __init__(self, answer: ErrorAnswer) -> None:
        super().__init__(answer.description)
        self.answer = answer


def no_token() -> ErrorAnswer:
    """Return 401 for a request that has no token (no error code: RFC 6750, section 3.1).

    The realm is there since a challenge needs a parameter (section 3).
    """
    headers = {"WWW-Authenticate": 'Bearer realm="keyturn"'}
    return ErrorAnswer(401, "unauthorized", "this needs a session: log in", headers)


def bad_token(reason: Refusal, max_age: float | None = None) -> ErrorAnswer:
    """Return 401 for a token that is not good.

    Args:
        reason: why not.
        max_age: seconds since the session began that were allowed, if that is what was wrong.
    """
    if reason is Refusal.TOO_LONG_AGO and max_age is not None:
        description = "the session began too long ago for this: log in again"
        error, more = "insufficient_user_authentication", f', max_age="{int(max_age)}"'
        return _challenge(401, error, description, more)
    return _challenge(401, "invalid_token", f"the token is not good: {reason.value}")


def bad_request(description: str) -> ErrorAnswer:
    """Return 400 for a request whose token is not where it should be."""
    return _challenge(400, "invalid_request", description)


def forged(description: str) -> ErrorAnswer:
    """Return 403 for a request that another site may have sent."""
    return ErrorAnswer(403, "cross_site_request", description, {})


def unavailable() -> ErrorAnswer:
    """Return 503: whether the token is good cannot be said now."""
    description = "sessions cannot be checked now: try again later"
    return ErrorAnswer(
        503, "temporarily_unavailable", description, {"Retry-After": str(RETRY_AFTER)}
    )


def _challenge(status: int, error: str, description: str, more: str = "") -> ErrorAnswer:
    challenge = f'Bearer error="{error}", error_description="{description}"{more}'
    return ErrorAnswer(status, error, description, {"WWW-Authenticate": challenge})
