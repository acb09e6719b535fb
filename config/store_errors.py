"""What a store's errors mean: each becomes a `LogError` that names the log and what to do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from eventsourcing.domain import EventSourcingError
from eventsourcing.persistence import IntegrityError

from keyturn.domain.errors import (
    LogClosedError,
    LogDamagedError,
    LogError,
    LogUnavailableError,
    NotAKeyturnLogError,
)

_FULL = "the disk is full; make room and try again"
_BUSY = ("locked", "Timed out")
_MEANINGS = {
    "locked": "another process has kept it locked for too long; try again",
    "Timed out": "other threads have kept it busy for too long; try again",
    "disk is full": _FULL,
    "readonly": "it is read-only here; let this user write to it",
    "disk I/O error": "the disk reported an error; check the disk and try again",
    "unable to open": "its file cannot be opened; check that its folder is there and writable",
    "malformed": "its file is damaged; put back a copy of it",
}


@contextlib.contextmanager
def speaking_of(location: str) -> Iterator[None]:
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


def came_to_no_commit(error: LogUnavailableError) -> bool:
    """Whether an error while writing means, for certain, that nothing was written."""
    return error.is_busy or _FULL in str(error)


def _explained(error: Exception, location: str) -> LogError:
    text = str(error)
    if "not a database" in text:
        message = f"{location} is not a database: choose another path"
        return NotAKeyturnLogError(message, location=location)
    if "no such table" in text or "no such column" in text:
        message = (
            f"the table of events in {location} is missing, or is another application's: choose "
            "another path, or put back a copy of the log"
        )
        return NotAKeyturnLogError(message, location=location)
    if type(error).__name__ in ("ConnectionPoolClosedError", "ProgrammingError"):
        return LogClosedError(f"{location} was closed: open it again", location=location)
    if isinstance(error, UnicodeDecodeError) or "Could not decode" in text:
        message = f"the log {location} holds text that is none: put back a copy of it"
        return LogDamagedError(message, location=location)
    is_busy = any(sign in text for sign in _BUSY)
    meaning = next((_MEANINGS[sign] for sign in _MEANINGS if sign in text), text)
    message = f"the log {location} is not available: {meaning}"
    return LogUnavailableError(message, location=location, is_busy=is_busy)
