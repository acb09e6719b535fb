"""What PostgreSQL's errors mean: each becomes one of ours, which says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
from eventsourcing.persistence import IntegrityError

from keyturn.config.store_errors import unavailable
from keyturn.domain.errors import LogUnavailableError

NUMBERS_INDEX = "keyturn_events_notification_id_idx"
"""The unique index of the numbers that the server gives to rows."""

_BEHIND = "23505 of the numbers"
_MEANINGS = {
    _BEHIND: (
        "the sequence of its table is behind the table, as after a copy; open the log again, "
        "which says how to mend it"
    ),
    "23": "a constraint of the table refuses the event; take it away: it is none of ours",
    "25006": "the server is read-only (a standby?); name the one that can be written to",
    "25P03": "this process was stopped in the middle of a change; try again",
    "42P01": "its table is gone; put back a copy of the log",
    "42703": "its table was altered; put back a copy of the log",
    "42501": (
        "this role may not do that; grant it what the documentation lists, and take away any row "
        "policy"
    ),
    "53100": "the server's disk is full; make room and try again",
    "55P03": "another process has kept it locked for too long; try again",
    "57014": "the server cancelled the statement; try again",
    "57P01": "the server is shutting down; try again when it is back",
}
_BUSY = ("55P03", "40001", "40P01", "25P03")


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
        why = _MEANINGS.get(code) or _MEANINGS.get(code[:2]) or _in_one_line(error)
        raised = unavailable(location, why, is_busy=code in _BUSY)
        if not code or error.diag.severity_nonlocalized != "ERROR":
            raised.recorded = None
        raise raised from error


def unreachable(error: psycopg.Error, location: str) -> LogUnavailableError:
    """Return our error for a connection that could not be made, so that nothing was written."""
    todo = "check that it runs and has a connection left, and the URL of the store"
    return unavailable(location, f"no connection to its server: {_in_one_line(error)}; {todo}")


def _in_one_line(error: psycopg.Error) -> str:
    """Return what libpq says, which never shows a password."""
    return " ".join(str(error).split())[:300] or type(error).__name__
