"""What PostgreSQL's errors mean: each becomes one of ours, which says what to do."""

from __future__ import annotations

import psycopg
from eventsourcing.persistence import IntegrityError

from keyturn.domain.errors import LogUnavailableError

_AGAIN = "try again"
READ_ONLY = "the server is read-only (a standby?); name the one that can be written to"
_MEANINGS = {
    "28": "the server does not accept this user or password; check the URL of the store",
    "3D": "there is no such database; create it, or check the URL of the store",
    "3F": "there is no such schema; create it, or check the search_path",
    "42P01": "its table is gone; put back a copy of the log",
    "42501": "this role may not do that; grant it what the README lists",
    "23": "a constraint of the table refuses the event; take it away: it is none of ours",
    "25006": READ_ONLY,
    "53100": "the server's disk is full; make room and try again",
    "53300": "the server has no connection left; allow more, or use a smaller pool_size",
    "55P03": f"another process has kept it locked for too long; {_AGAIN}",
    "57014": f"the server cancelled the statement; {_AGAIN}",
    "57P01": f"the server is shutting down; {_AGAIN} when it is back",
    "57P03": f"the server is starting or stopping; {_AGAIN} when it is up",
}
_BUSY = ("55P03", "40001", "40P01")
_TOO_LONG = 300


def explained(error: psycopg.Error, location: str) -> Exception:
    """Return our error for one of psycopg's; an `IntegrityError` for a conflict of writers.

    Its `recorded` is False where the server has said that nothing was written, and None where
    the connection broke and nobody knows.
    """
    if isinstance(error, psycopg.errors.UniqueViolation):
        return IntegrityError(str(error))
    code = error.sqlstate or ""
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code[:2]) or _in_one_line(error)
    refused = bool(code) and error.diag.severity_nonlocalized == "ERROR"
    return LogUnavailableError(
        f"the log {location} is not available: {meaning}",
        location=location,
        recorded=False if refused else None,
        is_busy=code in _BUSY,
    )


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
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code[:2])
    meaning = meaning or f"no connection to its server: {_in_one_line(error)}"
    message = f"the log {location} is not available: {meaning}"
    return LogUnavailableError(message, location=location, recorded=False)


def _in_one_line(error: psycopg.Error) -> str:
    """Return what libpq says, which never shows a password."""
    return " ".join(str(error).split())[:_TOO_LONG] or type(error).__name__
