"""What SQLite's errors mean: each becomes a `LogError` that names the log and what to do.

PostgreSQL's have a module of their own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import IntegrityError

from keyturn.config.file_system import problem_of
from keyturn.domain.errors import (
    LogClosedError,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    NotAKeyturnLogError,
)

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""The primary codes that mean that somebody else has it locked."""

_NOT_COMMITTED = (*BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
_MEANINGS = {
    **dict.fromkeys(BUSY, "another process has kept it locked for too long; try again"),
    sqlite3.SQLITE_FULL: "the disk is full; make room and try again",
    sqlite3.SQLITE_READONLY: "it is read-only here; let this user write to it",
    sqlite3.SQLITE_IOERR: "the disk reported an error; check the disk and try again",
    sqlite3.SQLITE_CANTOPEN: (
        "its file cannot be opened; check that its folder is there and writable"
    ),
    sqlite3.SQLITE_CORRUPT: "its file is damaged; put back a copy of it",
}

_SAY_LITTLE = (*BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
"""What a file system without locks, and a process with too many open files, leads to as well."""

_NO_LOCKS_OR_MAPS = (
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
)


@contextlib.contextmanager
def translated(location: str) -> Iterator[None]:
    """Turn what stores raise in the block into our errors about the log at `location`.

    An `IntegrityError`, which is a conflict and no fault, passes.
    """
    try:
        yield
    except IntegrityError:
        raise
    except LogError as error:
        error.location = error.location or location
        raise
    except (sqlite3.Error, EventSourcingError, OSError, UnicodeDecodeError) as error:
        raise _explained(error, location) from error


def unavailable(
    location: object, why: object, *, recorded: bool | None = False, is_busy: bool = False
) -> LogUnavailableError:
    """Return the error for a log that cannot be used now; nothing was written unless told so."""
    message = f"the log {location} is not available: {why}"
    return LogUnavailableError(
        message, location=str(location), recorded=recorded, is_busy=is_busy
    )


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary code; 0 if it was raised by Python."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_not_committed(error: LogUnavailableError) -> bool:
    """Whether an error while writing means, for certain, that nothing was written."""
    code = primary_code(error.__cause__)
    return error.is_busy or error.recorded is False or code in _NOT_COMMITTED


def _explained(error: Exception, location: str) -> LogError:
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        message = f"{location} is not a database: choose another path"
        return NotAKeyturnLogError(message, location=location)
    if isinstance(error, sqlite3.ProgrammingError):
        return LogClosedError(f"{location} was closed: open it again", location=location)
    if isinstance(error, UnicodeDecodeError):  # of PostgreSQL's driver
        message = f"the log {location} holds text that is none: put back a copy of it"
        return LogDamagedError(message, location=location)
    found = problem_of(Path(location).parent) if code in _SAY_LITTLE else None
    if getattr(error, "sqlite_errorcode", 0) in _NO_LOCKS_OR_MAPS:
        found = found or "its file system has no locks or maps no memory; use a local disk"
    why = found or _MEANINGS.get(code) or error
    return unavailable(location, why, recorded=None, is_busy=code in BUSY)
