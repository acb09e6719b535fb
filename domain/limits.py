"""What a text for the record and a number of seconds may be."""

from __future__ import annotations

from math import inf, isfinite

from keyturn.domain.errors import AuditTextError, DurationError

MAX_NAME = 100
MAX_INITIATOR = 255
MAX_REASON = 1000


def check_name(name: object) -> str:
    """Return the name of a manager if it is one."""
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise AuditTextError("a manager's name is printable text and not empty", field="name")
    return check_text(name, "name", MAX_NAME)


def check_text(text: object, field: str, limit: int) -> str:
    """Return a text for the record if it can be recorded, whole, for ever."""
    if not isinstance(text, str):
        raise AuditTextError(f"{field} is text, not {type(text).__name__}", field=field)
    if len(text) > limit:
        message = f"{field} has {len(text)} characters, at most {limit} are recorded: shorten it"
        raise AuditTextError(message, field=field)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise AuditTextError(f"{field} is not valid Unicode text", field=field) from None
    return text


def check_seconds(value: object, what: str, *, least: float = 0.0) -> float:
    """Return a number of seconds, if it is one.

    Args:
        value: what was given.
        what: what to call it in the error.
        least: the smallest number of seconds that it may be.

    Raises:
        DurationError: it is not a number, not finite, or less than `least`.
    """
    seconds = inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:  # a whole number beyond what a float can be
            seconds = inf
    if not isfinite(seconds) or seconds < least:
        raise DurationError(f"{what} is a number of seconds ≥ {least:.15g}, and finite")
    return seconds
