"""What PostgreSQL's errors mean: each becomes one of ours, which says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from eventsourcing.persistence import IntegrityError

from keyturn.domain.errors import LogUnavailableError

NUMBERS_INDEX = "keyturn_events_notification_id_idx"
"""The unique index of the numbers that the server gives to rows."""

READ_ONLY = "the server is read-only (a standby?); name the one that can be written to"
_AGAIN = "try again"
_BEHIND = "23505 of the numbers"
_MEANINGS = {
    _BEHIND: (
        "the sequence of its table is behind the table, as after a copy; open the log again, "
        "which says how to mend it"
    ),
    "25P03": f"this process was stopped in the middle of a change; {_AGAIN}",
    "28": "the server does not accept this user or password; check the URL of the store",
    "3D": "there is no such database; create it, or check the URL of the store",
    "3F": "there is no such schema; create it, or check the search_path",
    "42P01": "its table is gone; put back a copy of the log",
    "42703": "its table was altered; put back a copy of the log",
    "42501": (
        "this role may not do that; grant it what the documentation lists, and take away any row "
        "policy"
    ),
    "23": "a constraint of the table refuses the event; take it away: it is none of ours",
    "25006": READ_ONLY,
    "53100": "the server's disk is full; make room and try again",
    "53300": "the server has no connection left; allow more, or use a smaller pool_size",
    "55P03": f"another process has kept it locked for too long; {_AGAIN}",
    "57014": f"the server cancelled the statement; {_AGAIN}",
    "57P01": f"the server is shutting down; {_AGAIN} when it is back",
    "57P03": f"the server is starting or stopping; {_AGAIN} when it is up",
}
_BUSY = ("55P03", "40001", "40P01", "25P03")
_TOO_LONG = 300


@contextlib.contextmanager
def explaining(location: str) -> Iterator[None]:
    """Turn psycopg's errors in the block into ours.

    Raises:
        IntegrityError: another writer was first.
        LogUnavailableError: for all else. Its `recorded` is False where the server has said that
            nothing was written, and None where the connection broke and nobody knows.
    """
    try:
        yield
    except psycopg.Error as error:
        code = error.sqlstate or ""
        if isinstance(error, psycopg.errors.UniqueViolation):
            if error.diag.constraint_name != NUMBERS_INDEX:
                raise IntegrityError(str(error)) from error
            code = _BEHIND
        is_refused = bool(code) and error.diag.severity_nonlocalized == "ERROR"
        raise LogUnavailableError(
            f"the log {location} is not available: {_meaning(code) or _in_one_line(error)}",
            location=location,
            recorded=False if is_refused else None,
            is_busy=code in _BUSY,
        ) from error


def unreachable(error: psycopg.Error, location: str) -> LogUnavailableError:
    """Return our error for a connection that could not be made, so that nothing was written."""
    # libpq says why only in words, at the connection as a whole.
    text = str(error)
    code = error.sqlstate or ""
    if "no password supplied" in text or "authentication failed" in text:
        code = "28000"
    elif '" does not exist' in text and "database" in text:
        code = "3D000"
    elif "standby mode" in text or "is not primary" in text or "read-only" in text:
        code = "25006"
    elif "too many c" in text or "connection slots" in text:
        code = "53300"
    why = _meaning(code) or f"no connection to its server: {_in_one_line(error)}"
    return unavailable(location, why)


def unavailable(location: str, why: str, *, is_busy: bool = False) -> LogUnavailableError:
    """Return the error for a log that cannot be used now; nothing was written to it."""
    message = f"the log {location} is not available: {why}"
    return LogUnavailableError(message, location=location, recorded=False, is_busy=is_busy)


def _meaning(code: str) -> str | None:
    return _MEANINGS.get(code) or _MEANINGS.get(code[:2])


def _in_one_line(error: psycopg.Error) -> str:
    """Return what libpq says, which never shows a password."""
    return " ".join(str(error).split())[:_TOO_LONG] or type(error).__name__
